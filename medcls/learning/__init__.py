"""Training: the classifier, its losses and schedules, freezing, checkpoints."""
