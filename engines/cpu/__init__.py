"""Heads on the CPU: computed exactly, or as fast as the processor can."""
