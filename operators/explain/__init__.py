"""Explain decisions: the causes of an order, and the reason why a symbol was not traded."""
