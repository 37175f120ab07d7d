"""Management code of the composition root."""
