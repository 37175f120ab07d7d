"""How fast Daybook is, measured beside simpler ways of doing the same. See `bench/README.md`."""
