"""Starts things: the command line, the local stack and its supervisor. Imported by nothing but cli.py."""
