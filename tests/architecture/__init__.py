"""Rules about the code itself: imports, migrations, settings."""
