"""The projections: each keeps the tables of one subject, from events only, and can be rebuilt at any time.

A module holds the shape of the rows, the pure functions from events to rows, and the class that applies them to a
batch. The tables themselves stand in the `.sql` file of the same name.
"""
