"""The container image: build, entry point and health check."""
