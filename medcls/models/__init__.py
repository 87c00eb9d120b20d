"""Networks and their weights. Importing this package imports nothing else: torch comes with the module that is used."""
