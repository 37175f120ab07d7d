"""The read side: models built from events only, and what is answered from them."""
