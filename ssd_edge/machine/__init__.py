"""What this machine is: GPU, board, cameras, codecs, disk, packages. Nothing here changes it, or hangs with it.

Probes are functions of a ``Host``, which is all that they see of the machine; ``ssd-edge doctor`` runs them.
"""
