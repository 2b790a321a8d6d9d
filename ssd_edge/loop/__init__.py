"""The camera loop: it takes frames from a source through a detector to a window, a video or JSON.

with open_source("0") as camera:
    report = run_loop(detector, camera, [Window(labels), JsonLines("out.jsonl", labels)])
"""
