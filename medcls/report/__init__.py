"""Reports: text, tables, limitations, checklists and pages."""
