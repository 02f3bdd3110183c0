"""The gateway stage for tests: each step also runs on a restored stage; summaries of the output."""

from __future__ import annotations

from typing import Any

from operators.gateway import GatewaySettings, GatewayStage
from schemas.records import Execution, OrderIntent, Record
from tests.builders import broker_account, broker_update

SECOND_NS = 10**9


class GatewayHarness:
    """A gateway stage. Each step also runs on a stage restored from a snapshot, and the outputs must be equal."""

    def __init__(self, **settings_fields: Any) -> None:
        self._settings = GatewaySettings(**settings_fields)
        self.stage = GatewayStage(self._settings)
        self.now = 0

    def step(self, *records: Record, seconds: int = 1) -> list[Record]:
        self.now += seconds * SECOND_NS
        restored = GatewayStage(self._settings)
        restored.restore(self.stage.snapshot())
        output, restored_output = (
            self.stage.on_slice(self.now, list(records)),
            restored.on_slice(self.now, list(records)),
        )
        assert output == restored_output, "a restored gateway does the same"
        return output

    def connect(self) -> None:
        self.step(broker_update("", "CONNECTED"), broker_account(0))


def intents(output: list[Record]) -> list[tuple[Any, ...]]:
    return [
        (o.kind, o.client_order_id, o.terms.side, o.terms.quantity, o.terms.order_type)
        for o in output
        if isinstance(o, OrderIntent)
    ]


def reports(output: list[Record]) -> list[tuple[Any, ...]]:
    return [(o.order_id, o.exec_type, o.quantity, o.price) for o in output if isinstance(o, Execution)]


def only(output: list[Record], kind: type) -> Any:
    matches = [record for record in output if type(record) is kind]
    assert len(matches) == 1, matches
    return matches[0]
