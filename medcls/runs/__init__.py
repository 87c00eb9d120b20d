"""The run folder: written, found, reopened; and the registry of test readings."""
