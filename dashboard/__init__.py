"""The pages on which an experiment is started, followed and judged."""
