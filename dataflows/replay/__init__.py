"""Replays recorded topics through the live stages: comparison with the recording, and forks under other settings."""
