"""Tables of the audit chain, which `sinks/audit.py` writes and explains."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from sinks.tables import metadata

chain = Table(
    "audit_chain",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3 ... within the topic
    Column("table_name", Text, nullable=False),
    Column("row_key", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),  # the record's, 0 for a command
    # Number of fields of the record's schema; fields are only ever added, at the end.
    Column("fields", SmallInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Index(None, "table_name", "row_key"),
)
segments = Table(
    "audit_segments",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("segment", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3 ... within the topic
    Column("last_position", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
)
