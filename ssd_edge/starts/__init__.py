"""Whole detectors that other projects trained, as a start: one file for each project says how it names its tensors."""
