"""From a run's days to its report, in JSON, in Markdown and on the terminal; runs side by side."""
