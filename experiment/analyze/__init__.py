"""Anybody's experiment, from a table of users: `storelift analyze` and `storelift power`."""
