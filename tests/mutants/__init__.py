"""What the tests are worth: the code is changed in one small place, and one of them has to fail.

`make mutants` changes the store's core, one place at a time (`in_python`, `in_sql`), and runs the tests of that part
(`parts`) against each change in a process that has everything loaded (`trying`). What no test tells from the original
is printed: docs/mutation-testing.md says what became of each.
"""
