"""Bank staff and programs: who may sign in, and what each role may do."""
