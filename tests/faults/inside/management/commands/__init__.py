"""Commands of processes under faults."""
