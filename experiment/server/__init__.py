"""A run's published model over HTTP: `storelift serve`."""
