"""Steps that several commands share, without Hydra."""
