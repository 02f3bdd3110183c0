"""Runs the tests with services of their own, and starts temporary platforms for measurements."""
