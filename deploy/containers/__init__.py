"""The container image: how it is built, what a container runs, and its health check."""
