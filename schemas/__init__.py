"""The vocabulary of the platform: what travels in topics, how it is encoded, and what can go wrong with it."""
