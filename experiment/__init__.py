"""The online experiment: assignment, the loop, its statistics and its report."""
