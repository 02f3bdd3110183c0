"""The edge behind the gateway: it asks the broker what `operators/gateway` intends, and records the answers."""
