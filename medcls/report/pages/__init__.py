"""What the pages share: their style, their tables and pictures, and what they call files that must not be named."""
