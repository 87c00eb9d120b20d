"""From tables of predictions to metrics and figures; no network, no lightning."""
