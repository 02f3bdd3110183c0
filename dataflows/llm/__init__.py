"""Language model connection: sends requests to the model and publishes its answers."""
