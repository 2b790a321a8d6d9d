"""The Jetson and RTX pages, played on recorded machines; see ``jetson_rehearsal.py``."""
