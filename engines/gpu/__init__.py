"""Frames to detections on a GPU, whichever library runs the network between."""
