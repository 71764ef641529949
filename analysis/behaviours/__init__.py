"""How an engine behaves as its parts begin and end: where docker versions differ."""
