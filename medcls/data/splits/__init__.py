"""Which image trains, which selects, which tests."""
