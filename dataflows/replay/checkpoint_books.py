"""The books in a state of the compact process: those that the service portfolio had after its time slice."""

from __future__ import annotations

from contextlib import closing
from itertools import takewhile
from typing import Any

from configs.recorded_settings import settings_of
from configs.settings import KafkaSection, Settings
from dataflows.replay.checkpoint_states import CheckpointState
from dataflows.replay.fork import BooksAtStart
from dataflows.replay.recorded_log import read_log
from dataflows.runtime import stages
from dataflows.runtime.configured_stage import ConfiguredState, MakeStage, read_state
from dataflows.runtime.topology import GLOBAL_SHARD
from operators.ledger import Ledger
from operators.portfolio import PortfolioStage
from operators.stage import Stage
from schemas.records import TOPIC_OF, Valuation

_PORTFOLIO = "portfolio"
_VALUATIONS = TOPIC_OF[Valuation]
_TAIL_MESSAGES = 1000


def books_of(settings: Settings, services: Any) -> Ledger:
    """Return the ledger of portfolio in a state of the compact process. `settings` are those of this process."""
    return portfolio_of(settings, services).ledger


def portfolio_of(settings: Settings, services: Any) -> PortfolioStage:
    """Return the stage of portfolio in a state of the compact process. `settings` are those of this process."""
    stage = restored_stage(settings, services, stages.portfolio, _PORTFOLIO)
    assert isinstance(stage, PortfolioStage)
    return stage


def restored_stage(settings: Settings, services: Any, make: MakeStage, service: str) -> Stage:
    """Return the stage of a service without shards in a state of the compact process."""
    state = stage_state(services, service)
    stage = make(settings_of_stage(settings, state))()
    stage.restore(state.stage)
    return stage


def stage_state(services: Any, service: str) -> ConfiguredState:
    """Return the state of a service's stage in a state of the compact process."""
    _, logic_state = services[service][GLOBAL_SHARD]
    return read_state(logic_state[1])


def settings_of_stage(settings: Settings, state: ConfiguredState) -> Settings:
    """Return the settings under which a stage has the state."""
    return settings if state.configuration is None else settings_of(state.configuration, settings)


def read_books_at(settings: Settings, start: CheckpointState) -> BooksAtStart:
    """Return the books of a checkpoint. The last valuation is read from its topic. Raises Unavailable."""
    return books_at(settings, start, last_valuation(settings.kafka, start))


def books_at(settings: Settings, start: CheckpointState, valuation: Valuation | None) -> BooksAtStart:
    """Return the books of a checkpoint, given the last valuation before it; None if there was none."""
    positions = list(books_of(settings, start.compact[2]).positions())
    return BooksAtStart(
        positions={position.symbol: position.quantity for position in positions},
        open_lots={lot.lot_id: position.symbol for position in positions for lot in position.lots},
        valuation=valuation,
    )


def last_valuation(kafka: KafkaSection, start: CheckpointState) -> Valuation | None:
    """Return the last valuation up to the time slice of a checkpoint, None without one. Raises Unavailable.

    Its topic is read backwards in growing parts: outside sessions, many clocks follow the last valuation.
    """
    end = start.outputs[_VALUATIONS, 0]
    count = _TAIL_MESSAGES
    while True:
        first = max(0, end - count)
        found = None
        with closing(read_log(kafka, _VALUATIONS, 0, first=first)) as records:
            for record in takewhile(lambda one: one.ts_ns <= start.slice_ns, records):
                if type(record) is Valuation:
                    found = record
        if found is not None or not first:
            return found
        count *= 10
