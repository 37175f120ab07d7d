"""What runs inside the processes of a Daybook under faults: other addresses, handlers that can be poisoned."""
