"""A shop that uses the event store alone, without a word of banking."""
