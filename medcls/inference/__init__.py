"""Predict with a trained network."""
