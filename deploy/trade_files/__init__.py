"""Read the files of `cli.py lots`: trades of this platform and of the usual brokers, and corporate actions.

The first error raises `BadInput` with one line: file, row, field, expected and found. Rows count from 1 after the
header; lines count from 1 and include it.
"""

from deploy.trade_files.actions import ActionRow, read_actions
from deploy.trade_files.fills import FillFile, FillRow, read_fills
from deploy.trade_files.times import TradeTime

__all__ = ["ActionRow", "FillFile", "FillRow", "TradeTime", "read_actions", "read_fills"]
