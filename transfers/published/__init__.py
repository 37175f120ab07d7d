"""What the transfers context publishes: the only part of it that other contexts may import. Pure."""
