"""Backups of the database as one file, encrypted on request."""
