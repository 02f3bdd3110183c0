"""Explains decisions: the tree of causes behind an order, and the reason why nothing was traded."""
