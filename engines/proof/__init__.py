"""Engines and plans against the proof that a model carries."""
