"""Keeping up with index-log: reading, applying, taking newer generations over."""
