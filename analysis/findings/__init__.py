"""What is wrong, or only looks so: each finding with its evidence and what to look at next."""
