"""The staff pages in a real browser, against a whole Daybook that runs as `manage.py up` runs it."""
