"""The supervisor behind `manage.py up`: one foreground command for every process of Daybook."""
