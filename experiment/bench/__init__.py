"""Speed, as ratios to the machine's limits and to peers: `storelift bench`."""
