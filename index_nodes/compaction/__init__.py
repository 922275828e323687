"""The next generation: folded, measured, published, and what of the past may go."""
