"""The kinds of faults of `chaos`, one module per family."""
