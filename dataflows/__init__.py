"""Dataflow wiring: one module per service. Run one with `python -m bytewax.run dataflows.NAME`; imports do no work."""

import configs as configs  # first: it makes the imports that follow cheaper
