"""Database migrations of the staff application."""
