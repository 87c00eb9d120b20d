"""Between the command line and the rest: Hydra, errors and exit codes, the terminal."""
