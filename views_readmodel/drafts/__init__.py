"""Transfers that were written down and are not sent yet: the little that the staff pages keep of their own."""
