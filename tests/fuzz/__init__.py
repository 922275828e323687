"""Mutated pictures and videos through the real decoder children: ``python -m tests.fuzz --inputs 10000 --seed 1``."""
