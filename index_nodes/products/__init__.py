"""Products by slot: their states, their fields as columns, and what changed since the generation."""
