"""The run folder: what is written how, what is complete, and who may write."""
