"""The HTML report of a run, and of a comparison of runs: one file that needs no network and no script.

The charts are SVG of our own (docs/decisions/0023-html-report.md).
"""
