"""Replay recorded topics through the live stages: compare with the recording, or fork under other settings."""
