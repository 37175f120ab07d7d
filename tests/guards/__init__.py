"""What must not be missing: each guard of the event store, taken out of a copy of the code, makes a test fail.

`make guards` tries them all (`__main__`), from the table in `guards`.
"""
