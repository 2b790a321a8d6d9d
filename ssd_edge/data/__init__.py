"""Images with labelled boxes: readers of common label formats, a check, a generator, and augmentation."""
