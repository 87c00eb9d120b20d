"""Between the command line and the rest: Hydra, building from configurations, errors and exit codes."""
