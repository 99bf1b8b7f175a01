"""Every user under every arm: `storelift truth`, and the potential outcomes that it leaves."""
