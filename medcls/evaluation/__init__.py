"""What the predictions of a split say."""
