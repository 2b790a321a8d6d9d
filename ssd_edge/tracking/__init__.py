"""Stable ids for the objects of a camera, and what they do: zones, lines, counts, times.

tracker = Tracker(Settings(labels=("bolt", "nut")))
tracks = tracker.update(detections, seconds)
"""
