"""The transfers context: the money transfer as the state of its saga."""
