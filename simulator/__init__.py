"""The world: users, apps, preferences, retrieval and responses, and the log they leave."""
