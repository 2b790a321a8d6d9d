"""The bundle NAME.engine/: a manifest, the plans it describes, and the checks between a file and a running engine.

A bundle holds at most one plan of each backend. All plans come from the same FP32 heads: built from that very file, or
from INT8 heads calibrated from it. A plan that can run on the machine that builds it is written only if it passes the
proof of its heads there.
"""
