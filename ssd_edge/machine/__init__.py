"""Probes that describe this machine: GPU, board, cameras, codecs, disk, packages. They never change it, and never hang.

A probe is a function of a ``Host``, and sees the machine only through it; ``ssd-edge doctor`` runs the probes.
"""
