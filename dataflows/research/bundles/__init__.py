"""Bundles: a run with everything that reproduces it, in one file (docs/howto/bundle.md)."""
