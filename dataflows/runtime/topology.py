"""Who reads what, in which order inside a tick, and who writes what. The service diagram as data.

The order of `inputs` is the order of their records within one tick. An input marked `feedback` closes a loop and
lags by one tick (`operators/alignment.py`). The fused backtest and the staged services are both wired from this table.
"""

from __future__ import annotations

from typing import NamedTuple

from operators.alignment import Log
from schemas.records import (
    BY_SYMBOL,
    TOPIC_OF,
    BrokerAccount,
    BrokerUpdate,
    Command,
    CorporateAction,
    ExchangeRate,
    LlmAnswer,
)


class ServiceInput(NamedTuple):
    topic: str
    feedback: bool = False


class ServiceSpec(NamedTuple):
    """`by_shard`: one instance of the stage per partition of the topics by symbol; otherwise one instance in all.

    `outputs` carry this service's clock. `unclocked` it writes as well: edges' topics, whose clock is market_data's,
    and those that nobody aligns on.
    """

    inputs: tuple[ServiceInput, ...]
    outputs: tuple[str, ...]
    by_shard: bool = False
    unclocked: tuple[str, ...] = ()


class Replica(NamedTuple):
    """One of the `total` processes that share the shards of a service, from 1 on."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}of{self.total}"

    @staticmethod
    def parse(text: str) -> Replica:
        """
        >>> Replica.read("2of3")
        Replica(number=2, total=3)
        """
        number, _, total = text.partition("of")
        return Replica(int(number), int(total))

    def select(self, shards: list[str]) -> list[str]:
        """Its part of all shards: with all replicas of one total, each shard is in exactly one.

        >>> Replica(2, 3).of(["0", "1", "2", "3"])
        ['1']
        """
        return shards[self.number - 1 :: self.total]


SINGLE_REPLICA = Replica(1, 1)

SERVICES: dict[str, ServiceSpec] = {
    "market_data": ServiceSpec(
        inputs=(),
        outputs=(
            "market-quotes",
            "market-bars",
            "reference-data",
            "news",
            "fundamentals",
            "llm-answers",
            "broker-updates",
            "commands",
        ),
        unclocked=("market-trades",),
    ),
    "news": ServiceSpec(inputs=(), outputs=(), unclocked=("news",)),
    "fundamentals": ServiceSpec(inputs=(), outputs=(), unclocked=("fundamentals",)),
    "features": ServiceSpec(
        inputs=(ServiceInput("market-quotes"), ServiceInput("reference-data"), ServiceInput("market-bars")),
        outputs=("features",),
        by_shard=True,
    ),
    "sentiment": ServiceSpec(
        inputs=(ServiceInput("llm-answers"), ServiceInput("news")),
        outputs=("sentiment", "llm-requests"),
        unclocked=("llm-answers",),
    ),
    "predictions": ServiceSpec(inputs=(ServiceInput("features"),), outputs=("predictions",), by_shard=True),
    "signals": ServiceSpec(
        inputs=(
            ServiceInput("weights", feedback=True),
            ServiceInput("features"),
            ServiceInput("predictions"),
            ServiceInput("fundamentals"),
            ServiceInput("sentiment"),
        ),
        outputs=("signals",),
        by_shard=True,
    ),
    "execution": ServiceSpec(
        inputs=(
            ServiceInput("orders", feedback=True),
            ServiceInput("market-quotes"),
            ServiceInput("reference-data"),
            ServiceInput("broker-updates"),
            ServiceInput("market-bars"),
        ),
        outputs=("executions", "order-intents"),
        unclocked=("broker-updates",),
    ),
    "portfolio": ServiceSpec(
        inputs=(
            ServiceInput("order-refusals", feedback=True),
            ServiceInput("reference-data"),
            ServiceInput("executions"),
            ServiceInput("commands"),
            ServiceInput("market-bars"),
            ServiceInput("signals"),
        ),
        outputs=("order-proposals", "positions", "valuations"),
    ),
    "risk": ServiceSpec(
        inputs=(
            ServiceInput("reference-data"),
            ServiceInput("executions"),
            ServiceInput("commands"),
            ServiceInput("market-bars"),
            ServiceInput("order-proposals"),
        ),
        outputs=("orders", "order-refusals", "risk-events"),
    ),
    "feedback": ServiceSpec(
        inputs=(
            ServiceInput("reference-data"),
            ServiceInput("market-bars"),
            ServiceInput("predictions"),
            ServiceInput("signals"),
            ServiceInput("executions"),
            ServiceInput("positions"),
            ServiceInput("valuations"),
            ServiceInput("order-proposals"),
        ),
        outputs=("weights", "attribution"),
    ),
}
STAGED_SERVICES = tuple(name for name, service in SERVICES.items() if service.inputs)
"""The services that are a stage over topics; the others read feeds."""
PASS_THROUGH: dict[str, tuple[type, ...]] = {
    "sentiment": (LlmAnswer,),
    "execution": (BrokerUpdate, BrokerAccount),
    "portfolio": (CorporateAction, ExchangeRate),
    "risk": (Command,),
}
"""What an edge or a person wrote, stored by the one service that reads it first. News and fundamentals are stored by
whoever writes them."""
SYMBOL_TOPICS = frozenset(TOPIC_OF[record_type] for record_type in BY_SYMBOL)
GLOBAL_SHARD = "books"
"""The one shard of a service that sees all symbols at once."""
FEED_SHARD = "feed"
"""The one shard of a service that turns feeds into records."""


def shards(service: str, partitions: int) -> list[str]:
    """The shards of a service: a partition number each, or the one that holds everything.

    >>> shards("features", 2), shards("risk", 2)
    (['0', '1'], ['books'])
    """
    if not SERVICES[service].inputs:
        return [FEED_SHARD]
    return [str(p) for p in range(partitions)] if SERVICES[service].by_shard else [GLOBAL_SHARD]


def partitions_of(topic: str, partitions: int) -> range:
    """All partitions of a topic, given how many the topics by symbol have."""
    return range(partitions if topic in SYMBOL_TOPICS else 1)


def input_logs(service: str, shard: str, partitions: int) -> list[Log]:
    """What one shard of a service reads.

    >>> input_logs("predictions", "1", 4)
    [Log(topic='features', partition=1, rank=0, feedback=False)]
    """
    input_logs_of_shard: list[Log] = []
    for rank, (topic, feedback) in enumerate(SERVICES[service].inputs):
        by_shard = SERVICES[service].by_shard and topic in SYMBOL_TOPICS
        log_partitions = [int(shard)] if by_shard else partitions_of(topic, partitions)
        input_logs_of_shard += [Log(topic, partition, rank, feedback) for partition in log_partitions]
    return input_logs_of_shard


def clocked_logs(service: str, shard: str, partitions: int) -> list[tuple[str, int]]:
    """The (topic, partition) logs that one shard of a service writes the clock into."""
    topics = SERVICES[service].outputs
    if SERVICES[service].by_shard:
        return [(topic, int(shard)) for topic in topics]
    return [(topic, partition) for topic in topics for partition in partitions_of(topic, partitions)]
