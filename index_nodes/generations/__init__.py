"""What is on disk: the index of a generation, its files, and the heads that publish it."""
