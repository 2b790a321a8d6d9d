"""Engines: what runs the heads, and the bundle that carries them."""
