"""From assessments to words, tables and pages."""
