"""Fault-injection tests: run a temporary platform on a fixed tape, inject faults, and compare it with a clean run."""
