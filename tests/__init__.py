"""The test suite; its shared fixtures are in `tests/conftest.py`."""
