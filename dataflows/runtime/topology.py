"""The service diagram as data: the topics that each service reads and writes, in order within a time slice.

The order of `inputs` is the order of their records within one time slice. An input marked `feedback` closes a loop and
lags by one time slice (`operators/alignment.py`). The fused backtest and the staged services use the same table.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from operators.log_cursor import LogInput
from schemas.records import (
    BY_SYMBOL,
    TOPIC_OF,
    BrokerAccount,
    BrokerActivity,
    BrokerUpdate,
    Command,
    Configuration,
    CorporateAction,
    DataRow,
    ExchangeRate,
    LlmAnswer,
    TradingSession,
    TradingStatus,
)


class Layout(StrEnum):
    """Which services share a process: none, or those that make decisions."""

    SERVICES = "services"
    COMPACT = "compact"


class ServiceInput(NamedTuple):
    """A topic that a service reads. With `all_partitions`, every shard reads all partitions of a topic by symbol."""

    topic: str
    feedback: bool = False
    all_partitions: bool = False


class ServiceSpec(NamedTuple):
    """The topics of a service. `by_shard`: one stage instance per partition of the symbol topics, else one instance.

    `outputs` carry the clock that this service writes. `unclocked` topics are also written by this service, but either
    `market_data` writes their clock or no service aligns on them. `follows` are topics whose new records only tell the
    service when to close a time slice.
    """

    inputs: tuple[ServiceInput, ...]
    outputs: tuple[str, ...]
    by_shard: bool = False
    unclocked: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()


class Replica(NamedTuple):
    """One of the `total` processes that share the shards of a service. `number` counts from 1."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}of{self.total}"

    @staticmethod
    def parse(text: str) -> Replica:
        """
        >>> Replica.parse("2of3")
        Replica(number=2, total=3)
        """
        number, _, total = text.partition("of")
        return Replica(int(number), int(total))

    def select(self, shards: list[str]) -> list[str]:
        """Return this replica's shards. Across all replicas of one total, each shard is selected exactly once.

        >>> Replica(2, 3).select(["0", "1", "2", "3"])
        ['1']
        """
        return shards[self.number - 1 :: self.total]


SINGLE_REPLICA = Replica(1, 1)

SERVICES: dict[str, ServiceSpec] = {
    "market_data": ServiceSpec(
        inputs=(),
        outputs=(
            "market-quotes",
            "market-trades",
            "history-bars",  # before the bars, as in the stages that read both
            "market-bars",
            "reference-data",
            "news",
            "fundamentals",
            "llm-answers",
            "broker-updates",
            "commands",
            "configuration",
        ),
        follows=(
            "reference-data",
            "news",
            "fundamentals",
            "llm-answers",
            "broker-updates",
            "commands",
            "configuration",
            "orders",
            "order-refusals",
            "order-proposals",
            "risk-events",
            "strategy-suspensions",
            "stage-timers",
        ),
    ),
    "news": ServiceSpec(inputs=(), outputs=(), unclocked=("news",)),
    "fundamentals": ServiceSpec(inputs=(), outputs=(), unclocked=("fundamentals",)),
    "features": ServiceSpec(
        inputs=(
            ServiceInput("configuration"),
            ServiceInput("market-quotes"),
            ServiceInput("reference-data"),
            ServiceInput("history-bars"),
            ServiceInput("market-bars"),
        ),
        outputs=("features",),
        by_shard=True,
        unclocked=("handler-timeouts",),
    ),
    "sentiment": ServiceSpec(
        inputs=(ServiceInput("configuration"), ServiceInput("llm-answers"), ServiceInput("news")),
        outputs=("sentiment", "llm-requests"),
        unclocked=("llm-answers", "stage-timers"),
    ),
    "predictions": ServiceSpec(
        inputs=(ServiceInput("configuration"), ServiceInput("features")),
        outputs=("predictions",),
        by_shard=True,
        unclocked=("handler-timeouts",),
    ),
    "signals": ServiceSpec(
        inputs=(
            ServiceInput("weights", feedback=True),
            ServiceInput("strategy-suspensions", feedback=True, all_partitions=True),
            ServiceInput("configuration"),
            ServiceInput("commands"),
            ServiceInput("features"),
            ServiceInput("predictions"),
            ServiceInput("fundamentals"),
            ServiceInput("sentiment"),
        ),
        outputs=("signals", "strategy-suspensions"),
        by_shard=True,
        unclocked=("handler-timeouts",),
    ),
    "execution": ServiceSpec(
        inputs=(
            ServiceInput("orders", feedback=True),
            ServiceInput("valuations", feedback=True),
            ServiceInput("configuration"),
            ServiceInput("commands"),
            ServiceInput("market-quotes"),
            ServiceInput("reference-data"),
            ServiceInput("broker-updates"),
            ServiceInput("market-bars"),
        ),
        outputs=("executions", "order-intents"),
        unclocked=("broker-updates", "stage-timers"),
    ),
    "strategies": ServiceSpec(
        inputs=(
            ServiceInput("order-refusals", feedback=True),
            ServiceInput("orders", feedback=True),
            ServiceInput("order-proposals", feedback=True),
            ServiceInput("risk-events", feedback=True),
            ServiceInput("configuration"),
            ServiceInput("market-quotes"),
            ServiceInput("market-trades"),
            ServiceInput("reference-data"),
            ServiceInput("executions"),
            ServiceInput("commands"),
            ServiceInput("history-bars"),
            ServiceInput("market-bars"),
            ServiceInput("features"),
            ServiceInput("predictions"),
            ServiceInput("fundamentals"),
            ServiceInput("news"),
            ServiceInput("sentiment"),
        ),
        outputs=("strategy-actions",),
        unclocked=("handler-timeouts", "stage-timers"),
    ),
    "portfolio": ServiceSpec(
        inputs=(
            ServiceInput("order-refusals", feedback=True),
            ServiceInput("configuration"),
            ServiceInput("reference-data"),
            ServiceInput("executions"),
            ServiceInput("commands"),
            ServiceInput("market-bars"),
            ServiceInput("signals"),
            ServiceInput("strategy-actions"),
        ),
        outputs=("order-proposals", "positions", "valuations"),
        unclocked=("stage-timers",),
    ),
    "risk": ServiceSpec(
        inputs=(
            ServiceInput("configuration"),
            ServiceInput("reference-data"),
            ServiceInput("executions"),
            ServiceInput("commands"),
            ServiceInput("market-bars"),
            ServiceInput("order-proposals"),
            ServiceInput("strategy-actions"),
        ),
        outputs=("orders", "order-refusals", "risk-events"),
    ),
    "feedback": ServiceSpec(
        inputs=(
            ServiceInput("configuration"),
            ServiceInput("reference-data"),
            ServiceInput("market-bars"),
            ServiceInput("predictions"),
            ServiceInput("signals"),
            ServiceInput("strategy-actions"),
            ServiceInput("executions"),
            ServiceInput("positions"),
            ServiceInput("valuations"),
            ServiceInput("order-proposals"),
        ),
        outputs=("weights", "attribution"),
    ),
}
HINT_TOPICS = frozenset({"stage-timers"})
"""Topics whose records affect no decision. After a crash, they may be repeated, different or missing."""
STAGED_SERVICES = tuple(name for name, service in SERVICES.items() if service.inputs)
"""Services that run a stage over topics; the other services read feeds."""
COMPACT = "compact"
"""The process that runs the services of `COMPACT_SERVICES` in the compact layout. It is not a service."""
COMPACT_SERVICES = (
    "features",
    "sentiment",
    "predictions",
    "signals",
    "execution",
    "strategies",
    "portfolio",
    "risk",
    "feedback",
)
"""The services that share one process in the compact layout. Each follows the services whose outputs it reads in the
same time slice. A service that a user adds runs in its own process in both layouts."""
EDGE_SERVICES = ("sentiment", "execution")
"""Services of `COMPACT_SERVICES` that run beside the compact process if they send requests to a language model or a
broker (`dataflows/runtime/edge_services.py`)."""
PASS_THROUGH: dict[str, tuple[type, ...]] = {
    "sentiment": (LlmAnswer,),
    "execution": (BrokerUpdate, BrokerAccount, BrokerActivity),
    "portfolio": (CorporateAction, ExchangeRate, TradingStatus, TradingSession, DataRow),
    "risk": (Command, Configuration),
}
"""Records that an external system or a user wrote, stored in tables by the one service listed here. `news` and
`fundamentals` store the records that they write."""
SYMBOL_TOPICS = frozenset(TOPIC_OF[record_type] for record_type in BY_SYMBOL)
GLOBAL_SHARD = "books"
"""The single shard of a service that reads all symbols."""
FEED_SHARD = "feed"
"""The single shard of a service that turns feeds into records."""


def shards(service: str, partitions: int) -> list[str]:
    """Return the shards of a service: one per partition number, or its single shard.

    >>> shards("features", 2), shards("risk", 2)
    (['0', '1'], ['books'])
    """
    if not SERVICES[service].inputs:
        return [FEED_SHARD]
    return [str(p) for p in range(partitions)] if SERVICES[service].by_shard else [GLOBAL_SHARD]


def own_topics(service: str) -> tuple[str, ...]:
    """Return the topics into which only this service, or the compact process, writes.

    Into most topics of market_data, other services and people write too.

    >>> own_topics("predictions")
    ('predictions',)
    """
    if service == COMPACT:
        return tuple(topic for name in COMPACT_SERVICES for topic in SERVICES[name].outputs)
    if service != "market_data":
        return SERVICES[service].outputs
    return ("market-bars", "market-quotes", "market-trades", "history-bars")


def table_writers(record_type: type[NamedTuple]) -> frozenset[str]:
    """Return the services that write the records of a type to its table.

    >>> sorted(table_writers(CorporateAction)), sorted(table_writers(Command))
    (['market_data', 'portfolio'], ['market_data', 'risk'])
    """
    topic = TOPIC_OF[record_type]
    return frozenset(
        service
        for service, spec in SERVICES.items()
        if topic in spec.outputs or topic in spec.unclocked or record_type in PASS_THROUGH.get(service, ())
    )


def compact_services(beside: Collection[str] = ()) -> tuple[str, ...]:
    """Return the services that share the compact process, in the order in which they run, without those `beside` it.

    >>> compact_services(["sentiment"])[:3]
    ('features', 'predictions', 'signals')
    """
    return tuple(name for name in COMPACT_SERVICES if name not in beside)


def processes(layout: Layout, beside: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of the dataflow processes of a layout. In `compact`, the services `beside` have their own.

    >>> processes(Layout.COMPACT, beside=["execution"])
    ('market_data', 'news', 'fundamentals', 'execution', 'compact')
    """
    if layout is Layout.SERVICES:
        return tuple(SERVICES)
    shared = compact_services(beside)
    return (*(name for name in SERVICES if name not in shared), COMPACT)


def compact_topics(services: Collection[str] = COMPACT_SERVICES) -> frozenset[str]:
    """Return the topics that the compact process of these services writes with their clock. It does not read them from
    Kafka.
    """
    return frozenset(topic for name in services for topic in SERVICES[name].outputs)


def compact_conflict(beside: Collection[str] = ()) -> str | None:
    """Return why the compact layout, with the services `beside`, cannot run, or None.

    A service of the compact process must not wait for an outside service that waits for outputs of the compact process
    in the same time slice: each process would wait for the other. A feedback input does not wait.
    """
    shared = compact_services(beside)
    own_topics_of_compact, reached = compact_topics(shared), set[str]()
    outside = [name for name in STAGED_SERVICES if name not in shared]
    for _ in outside:  # once for each possible link of a chain of outside services
        written = own_topics_of_compact.union(*(SERVICES[name].outputs for name in reached))
        reached |= {
            name
            for name in outside
            if any(item.topic in written and not item.feedback for item in SERVICES[name].inputs)
        }
    for service in shared:
        for item in SERVICES[service].inputs:
            writer = next((name for name in reached if item.topic in SERVICES[name].outputs), None)
            if writer is not None and not item.feedback:
                return (
                    f"the compact layout cannot run {service}: it reads topic {item.topic} of {writer}, which reads "
                    "topics of the compact process; mark the input as feedback, or use --layout services"
                )
    return None


def partitions_of(topic: str, partitions: int) -> range:
    """Return all partitions of a topic, given the number of partitions of the symbol topics."""
    return range(partitions if topic in SYMBOL_TOPICS else 1)


def input_logs(service: str, shard: str, partitions: int, unread: Collection[str] = ()) -> list[LogInput]:
    """Return the logs that one shard of a service reads, without those of the topics `unread`.

    >>> input_logs("predictions", "1", 4, unread=["configuration"])
    [LogInput(topic='features', partition=1, rank=1, feedback=False)]
    """
    input_logs_of_shard: list[LogInput] = []
    for rank, (topic, feedback, all_partitions) in enumerate(SERVICES[service].inputs):
        if topic in unread:
            continue
        by_shard = SERVICES[service].by_shard and topic in SYMBOL_TOPICS and not all_partitions
        log_partitions = [int(shard)] if by_shard else partitions_of(topic, partitions)
        input_logs_of_shard += [LogInput(topic, partition, rank, feedback) for partition in log_partitions]
    return input_logs_of_shard


def clocked_logs(service: str, shard: str, partitions: int) -> list[tuple[str, int]]:
    """Return the (topic, partition) logs into which one shard of a service writes the clock."""
    topics = SERVICES[service].outputs
    if SERVICES[service].by_shard:
        return [(topic, int(shard)) for topic in topics]
    return [(topic, partition) for topic in topics for partition in partitions_of(topic, partitions)]
