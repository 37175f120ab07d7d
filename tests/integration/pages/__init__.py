"""The staff pages without a browser."""
