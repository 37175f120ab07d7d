"""The table of the drafts."""
