"""Bring hard frames home: which frames a model would learn most from, and the data set that they make."""
