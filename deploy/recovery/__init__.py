"""Reads and rewrites recovery stores, and reads the recorded topics."""
