"""Scales of activations: observed on images, chosen by a method, kept and read in files."""
