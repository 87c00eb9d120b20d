"""The steps that several commands share, from predictions to a written report."""
