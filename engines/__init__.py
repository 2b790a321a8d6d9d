"""Engines that run a model's heads, and the bundle that carries them."""
