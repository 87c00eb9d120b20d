"""Decision rules, calibration, subgroups and comparisons, from predictions."""
