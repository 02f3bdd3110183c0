"""Measures a running platform: benchmark, analysis, profile and hints for its databases."""
