"""Tape: files of quotes, reference data, news and fundamentals, read beside the bars of a file feed.

`tape` merges the files into time slices. `tape_file` and `companyfacts` read them, `rules` and `fields` check rows.
"""

from dataflows.sources.tape.tape import Tape, TapeFiles

__all__ = ["Tape", "TapeFiles"]
