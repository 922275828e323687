"""Vectors under an index: rows that come, are scanned, coded, or put under a graph. Nothing here knows of products."""
