"""Sections of the selftest, which tests what only a real device can show. See ``ssd-edge selftest``."""
