"""The edge that sends requests to a language model and records its answers."""
