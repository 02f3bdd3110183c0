"""Starts, watches and stops the services of one platform."""
