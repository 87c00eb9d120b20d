"""From folders, tables and downloads to labelled images."""
