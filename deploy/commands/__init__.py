"""One small module per command group, each with `register(app)`."""
