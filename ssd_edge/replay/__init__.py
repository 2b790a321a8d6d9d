"""Record what a camera's run saw and found, and replay it: to the last bit, or with another engine."""
