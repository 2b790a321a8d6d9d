"""Pictures with boxes: readers of the usual label formats, a check, a generator, and augmentation."""
