"""Questions that may hang, crash, or load a large library: each a program that prints JSON, run by ``Host.ask``.

``python -m ssd_edge.machine.children.driver`` and so on.
"""
