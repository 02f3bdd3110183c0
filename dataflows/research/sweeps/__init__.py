"""Searches over parameters: many backtests of one strategy, each recorded as a trial.

`parameter_sweep` and `walk_forward_analysis` are the entry points; `dataflows.research` exports their functions.
"""
