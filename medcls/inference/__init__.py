"""A trained network put to use."""
