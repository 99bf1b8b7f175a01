"""The learning system: features, rankers, optimisers and their published form."""
