"""Property tests: what holds for every sequence of commands."""
