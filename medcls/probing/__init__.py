"""Linear probes: logistic regression on the features of a frozen network, cross-validated. Arrays in, arrays out."""
