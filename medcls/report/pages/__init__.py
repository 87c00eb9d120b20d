"""Parts that all pages share: style, tables, thumbnails, and replacement of names."""
