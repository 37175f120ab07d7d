"""Management commands of the read side."""
