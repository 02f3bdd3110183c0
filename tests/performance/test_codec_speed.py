"""The speed of encoding and decoding records, compared with bare fastavro on the same records."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro
import pytest

from schemas.codec import decode, encode, schema_json
from schemas.records import CheckResult
from tests.builders import bar, feature_row, order
from tests.performance.conftest import RecordFigure

COUNT, ROUNDS = 2_000, 8
VALUES = {"ema_12": 100.5, "ema_26": 100.25, "rsi_14": 55.5}
CHECKS = [CheckResult(name, "1,000.00", "100,000.00") for name in ("max_order_notional", "max_position", "cash")]
TS_NS = 1704067260 * 10**9
RECORDS: dict[str, Any] = {
    "Bar": bar("AAPL", 7, TS_NS, 100.0, open=100.5, high=101.0, low=99.5),
    "FeatureRow": feature_row("AAPL", 7, TS_NS, values=VALUES),
    "Order": order(1, quantity=100, ts_ns=TS_NS, checks=CHECKS),
}


def measure_cpu_s(*works: Callable[[], object]) -> list[float]:
    """Return each work's fastest round of `COUNT` calls. Rounds alternate, so that other load affects all of them."""
    best_s = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for number, work in enumerate(works):
            started = time.process_time()
            for _ in range(COUNT):
                work()
            best_s[number] = min(best_s[number], time.process_time() - started)
    return best_s


@pytest.mark.parametrize("name", RECORDS)
def test_codec_throughput_is_close_to_bare_fastavro(name: str, figure: RecordFigure) -> None:
    record = RECORDS[name]
    kind: type = type(record)
    schema = fastavro.parse_schema(json.loads(schema_json(kind)))
    value = encode(record)
    assert decode(value) == record
    row = fastavro.schemaless_reader(BytesIO(value[5:]), schema, None)

    def bare_encode() -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        return out.getvalue()

    encoding, bare_encoding, decoding, bare_decoding = measure_cpu_s(
        lambda: encode(record),
        bare_encode,
        lambda: decode(value),
        lambda: fastavro.schemaless_reader(BytesIO(value[5:]), schema, None),
    )
    figure(
        f"codec, {name} of {len(value)} bytes",
        f"encode {COUNT / encoding:,.0f}/s, {bare_encoding / encoding:.2f} of bare fastavro; "
        f"decode {COUNT / decoding:,.0f}/s, {bare_decoding / decoding:.2f}",
    )
    assert bare_encoding / encoding > 0.2
    assert bare_decoding / decoding > 0.2
