"""What a query sees, and answers from it."""
