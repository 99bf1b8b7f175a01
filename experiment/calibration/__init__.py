"""The statistics held against the truth: `storelift calibrate`."""
