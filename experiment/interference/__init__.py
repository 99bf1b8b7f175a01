"""Experiment designs under interference: arms that share training data bias each other's estimate."""
