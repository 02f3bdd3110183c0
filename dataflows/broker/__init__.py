"""Broker connection: sends the order intents of `operators/gateway` to the broker and publishes its responses."""
