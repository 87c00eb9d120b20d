"""Run folders: their files, their records, and the registry of test readings."""
