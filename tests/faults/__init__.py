"""What is killed, cut off or delivered twice, and what must hold all the same."""
