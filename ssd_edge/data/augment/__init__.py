"""Augmentation: random changes of training images and their boxes; ``catalogue`` names the ways to choose from."""
