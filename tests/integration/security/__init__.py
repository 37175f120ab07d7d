"""Attackers, and those who go where they may not."""
