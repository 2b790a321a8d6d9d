"""The report of a calibration: facts, charts and page."""
