"""What only a device can show, section by section. See ``ssd-edge selftest``."""
