"""Settings swept over seeds, the paper's claims among them: `storelift study` and `storelift reproduce`."""
