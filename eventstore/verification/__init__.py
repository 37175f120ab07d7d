"""Checks all that can be recomputed from the events, on a live system, and names what differs.

`findings` says what a check and a difference are, `running` runs checks, `walking` reads the store stream by stream for
those that need it, `sorting` brings together what lies in many streams. The checks themselves: `guards`, `log`,
`checkpoints`, `seals`, `parked`, `streams`, `operations`, `snapshots`, `rows`. A check of an application's own is a
`Check` or a `StreamCheck` beside them.
"""
