"""The world's own measures: how sparse and of what rank the true preferences are."""
