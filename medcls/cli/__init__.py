"""The command line: Hydra's grammar, building objects from configurations, errors and exit codes."""
