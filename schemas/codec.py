"""Encode records to bytes and decode them: Avro by fastavro in Confluent framing.

A message is a zero byte, the schema id in 4 bytes and the record. Schema ids are pinned here, so the platform needs no
schema registry. With a registry of your own, pass its ids to `Codec`.

>>> clock = Clock(ts_ns=60_000_000_000, writer="market_data@0.1.0")
>>> decode(encode(clock)) == clock
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import fastavro

from schemas.errors import Undecodable
from schemas.records import (
    Attribution,
    AuditHead,
    Bar,
    BrokerAccount,
    BrokerActivity,
    BrokerUpdate,
    CashFlow,
    CashTransfer,
    CheckpointMarker,
    CheckResult,
    Clock,
    Command,
    Configuration,
    CorporateAction,
    DataRow,
    DeadLetter,
    ExchangeRate,
    Execution,
    FeatureRow,
    Fundamentals,
    GatewayStatus,
    HandlerTimeout,
    HistoryBar,
    HistoryRow,
    HistoryTrade,
    InternalCross,
    LateRecord,
    LlmAnswer,
    LlmRequest,
    Lot,
    LotMatch,
    ModelScore,
    NewsItem,
    Order,
    OrderCancel,
    OrderIntent,
    OrderProposal,
    OrderRefusal,
    Position,
    Prediction,
    Quote,
    Record,
    RiskEvent,
    RiskFence,
    RiskUsage,
    SentimentScore,
    Signal,
    SignalOutcome,
    StageTimer,
    StrategyAccount,
    StrategyAction,
    StrategyPosition,
    StrategySuspension,
    StrategyWeights,
    TargetReduction,
    Trade,
    TradingSession,
    TradingStatus,
    Valuation,
)
from schemas.records.flat import RECORDS_WITH_TERMS, from_flat, to_flat_dict

AVSC_DIR = Path(__file__).parent / "avsc"
OLDER_AVSC_DIR = Path(__file__).parent / "older"
MAGIC = 0
SCHEMA_IDS: dict[type, int] = {
    Clock: 1,
    Bar: 2,
    FeatureRow: 57,
    Signal: 120,
    OrderProposal: 81,
    Order: 6,
    RiskFence: 7,
    OrderRefusal: 8,
    Execution: 9,
    Position: 10,
    Lot: 11,
    LotMatch: 110,
    Valuation: 54,
    Command: 47,
    DeadLetter: 15,
    OrderCancel: 16,
    RiskEvent: 17,
    RiskUsage: 18,
    Quote: 19,
    Trade: 20,
    NewsItem: 21,
    LlmAnswer: 22,
    Fundamentals: 23,
    CorporateAction: 58,
    ExchangeRate: 25,
    LlmRequest: 26,
    SentimentScore: 27,
    Prediction: 28,
    GatewayStatus: 51,
    OrderIntent: 52,
    BrokerUpdate: 31,
    BrokerAccount: 50,
    CashFlow: 53,
    StrategyWeights: 34,
    SignalOutcome: 59,
    Attribution: 36,
    ModelScore: 37,
    LateRecord: 40,
    AuditHead: 41,
    StrategySuspension: 43,
    StrategyPosition: 60,
    StrategyAccount: 61,
    CashTransfer: 44,
    BrokerActivity: 45,
    StrategyAction: 121,
    TradingSession: 62,
    DataRow: 63,
    TargetReduction: 64,
    TradingStatus: 66,
    InternalCross: 80,
    HistoryBar: 70,
    HistoryRow: 71,
    HandlerTimeout: 90,
    StageTimer: 91,
    Configuration: 101,
    CheckpointMarker: 130,
    HistoryTrade: 140,
}
"""Schema ids are never reused or changed, because every stored message carries one. A record type with a new field gets
a new id, and its previous schema moves to `OLDER_AVSC_DIR`.
"""

NESTED_RECORDS: dict[type, tuple[str, type]] = {Order: ("checks", CheckResult)}
"""Record types that hold a list of records: the name of that field and the type of its items."""


def file_name(record_type: type) -> str:
    """
    >>> file_name(OrderProposal)
    'order_proposal.avsc'
    """
    return re.sub(r"(?<!^)([A-Z])", r"_\1", record_type.__name__).lower() + ".avsc"


@cache
def schema_json(record_type: type) -> str:
    """Return the Avro schema of a record type as compact JSON, as a schema registry serves it."""
    return json.dumps(json.loads((AVSC_DIR / file_name(record_type)).read_text()), separators=(",", ":"))


Encode = Callable[[Any], bytes]
Decode = Callable[[BytesIO], Any]


def _encoder(record_type: Any, schema_id: int) -> Encode:
    schema = fastavro.parse_schema(json.loads(schema_json(record_type)))
    header = bytes([MAGIC]) + schema_id.to_bytes(4, "big")
    fields = record_type._fields
    write = fastavro.schemaless_writer

    def encode_one(record: Any) -> bytes:
        out = BytesIO()
        out.write(header)
        write(out, schema, dict(zip(fields, record, strict=True)))
        return out.getvalue()

    if record_type not in NESTED_RECORDS and record_type not in RECORDS_WITH_TERMS:
        return encode_one

    def encode_row(record: Any) -> bytes:
        out = BytesIO()
        out.write(header)
        write(out, schema, avro_row(record))
        return out.getvalue()

    return encode_row


def avro_row(record: Any) -> dict[str, Any]:
    """Return a record as the row that fastavro writes: flat fields by name, nested records as dicts."""
    row = to_flat_dict(record)
    nested = NESTED_RECORDS.get(type(record))
    if nested is not None:
        field, _ = nested
        row[field] = [item._asdict() for item in row[field]]
    return row


def _decoder(record_type: Any, writer_json: str | None) -> Decode:
    """Build a decoder. `writer_json` is the schema of another release that wrote the bytes; None means our own."""
    current_schema = fastavro.parse_schema(json.loads(schema_json(record_type)))
    writer_schema = current_schema if writer_json is None else fastavro.parse_schema(json.loads(writer_json))
    reader_schema = None if writer_json is None else current_schema
    read = cast("Callable[..., dict[str, Any]]", fastavro.schemaless_reader)  # a record schema yields a dict
    make_record = record_type._make

    def decode_one(source: BytesIO) -> Any:
        return make_record(read(source, writer_schema, reader_schema).values())

    if record_type not in NESTED_RECORDS and record_type not in RECORDS_WITH_TERMS:
        return decode_one
    nested = NESTED_RECORDS.get(record_type)

    def decode_row(source: BytesIO) -> Any:
        row = read(source, writer_schema, reader_schema)
        if nested is not None:
            field, nested_type = nested
            row[field] = [nested_type(*item.values()) for item in row[field]]
        return from_flat(record_type, row.values())

    return decode_row


class Codec:
    """Encodes and decodes every record type under one numbering of schemas.

    `older_schemas` are schemas of earlier releases that logs may still hold: `{id: (record type, schema JSON)}`.
    """

    def __init__(
        self, ids: Mapping[type, int] = SCHEMA_IDS, older_schemas: Mapping[int, tuple[type, str]] | None = None
    ) -> None:
        self._encoders = {record_type: _encoder(record_type, schema_id) for record_type, schema_id in ids.items()}
        self._decoders = {schema_id: _decoder(record_type, None) for record_type, schema_id in ids.items()}
        for schema_id, (record_type, schema) in (older_schemas or {}).items():
            self._decoders[schema_id] = _decoder(record_type, schema)

    def encode(self, record: Record | Clock) -> bytes:
        """Return framed bytes. Raises ValueError or TypeError if a value does not fit its field, which is a defect."""
        return self._encoders[type(record)](record)

    def decode(self, value: bytes | None) -> Any:
        """Return the record in `value`. Raises Undecodable, with what was found, if it holds none."""
        if value is None or len(value) < 5 or value[0] != MAGIC:
            actual = "no value" if value is None else f"{len(value)} bytes starting {value[:5].hex(' ')}"
            raise Undecodable(f"expected a zero byte and a 4-byte schema id, found {actual}")
        schema_id = int.from_bytes(value[1:5], "big")
        decode_one = self._decoders.get(schema_id)
        if decode_one is None:
            raise Undecodable(f"unknown schema id {schema_id}, expected one of {sorted(self._decoders)}")
        source = BytesIO(value)
        source.seek(5)
        try:
            record = decode_one(source)
        except (ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, ArithmeticError) as error:
            raise Undecodable(f"schema id {schema_id}: {type(error).__name__}: {error}") from error
        if source.tell() != len(value):
            raise Undecodable(f"schema id {schema_id}: {len(value) - source.tell()} bytes left after the record")
        return record


@cache
def load_older_schemas() -> dict[int, tuple[type, str]]:
    """Load schemas of earlier releases from `schemas/older/ID.avsc`: id -> (record type, JSON like `schema_json`)."""
    types = {record_type.__name__: record_type for record_type in SCHEMA_IDS}
    schemas = {}
    for file in sorted(OLDER_AVSC_DIR.glob("*.avsc")):
        schema = json.loads(file.read_text())
        schemas[int(file.stem)] = (types[schema["name"]], json.dumps(schema, separators=(",", ":")))
    return schemas


DEFAULT_CODEC = Codec(older_schemas=load_older_schemas())
encode = DEFAULT_CODEC.encode
decode = DEFAULT_CODEC.decode
