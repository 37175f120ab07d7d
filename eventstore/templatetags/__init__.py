"""Template tags of the event store's pages in the admin."""
