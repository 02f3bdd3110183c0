"""Measure a running platform: benchmark, analysis, profile and tuning hints."""
