"""Wiring: one module a service, runnable with `python -m bytewax.run dataflows.NAME`. Importing one does no work."""
