"""What the recovery stores of a release contain in the middle of a session, for every service and its reader.

The release itself writes the file. In a checkout of its commit, with this file and the platform's environment, run
`python -m tests.replay.release_stores FILE`.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Callable
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from configs.settings import Settings, load_settings
from dataflows.runtime import topology
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.market.clock_recovery import FeedTopicState
from dataflows.sources.market.live_feed_setup import live_feed_opener
from dataflows.sources.simulator import Simulator
from dataflows.sources.tape import Tape, TapeFiles
from operators.bar_completion import FeedSettings
from operators.dead_letter_rate import DeadLetterRate
from operators.stage import TimeSlice
from schemas.records import BrokerAccount, BrokerUpdate, OrderIntent
from tests.replay.in_memory_platform import Logs, ServiceShard
from tests.replay.market import MONDAY, write_market
from tests.unit.edge_tape import edge_market, edge_settings

STORES = Path(__file__).parent / "releases"
SLICES = 45
GATEWAY = "execution with a broker"
FEEDS = ("Simulator", "FileFeed", "LiveFeed")
START_NS = 1_767_225_600_000_000_000  # a whole minute

ServiceStores = dict[str, dict[str, tuple[Any, Any]]]
"""{service: {shard: (state of the source, state of the stage)}}. A feed has no stage."""


def gateway_settings() -> Settings:
    """Return settings with a broker whose account has no money, which releases before 0.3.0 did not compare."""
    settings = edge_settings()
    alpaca = settings.execution.alpaca.model_copy(update={"cash_tolerance": "unlimited"})
    execution = settings.execution.model_copy(update={"broker": "alpaca", "alpaca": alpaca})
    return settings.model_copy(update={"execution": execution})


def run_services(settings: Settings, *, broker: bool) -> list[ServiceShard]:
    """Run all services slice by slice. A broker confirms each order and fills half of it one time slice later."""
    logs = Logs(settings.kafka.symbol_partitions)
    shards = [
        ServiceShard(service, shard, settings, logs)
        for service in topology.STAGED_SERVICES
        for shard in topology.shards(service, logs.partitions)
    ]
    answered = 0
    for number, (ts_ns, records) in enumerate(edge_market()[:SLICES]):
        updates: list[Any] = []
        if broker:
            intents = [record for record in logs.records("order-intents") if type(record) is OrderIntent]
            updates = [update for intent in intents[answered:] for update in _broker_updates(intent)]
            answered = len(intents)
            if number == 1:
                updates += [_update("", "CONNECTED"), _account()]
        logs.write("market_data", topology.FEED_SHARD, [TimeSlice(ts_ns, [*updates, *records])])
        _step_until_idle(shards, logs)
    return shards


def _step_until_idle(shards: list[ServiceShard], logs: Logs) -> None:
    moved = True
    while moved:
        moved = False
        for shard in shards:
            for log_name in shard.next_offsets:
                shard.feed(log_name, len(logs.messages[log_name]))
            moved = shard.step(1000) or moved


def _update(client_order_id: str, event: str, *, quantity: Decimal = Decimal(0), cum: Decimal = Decimal(0)) -> Any:
    return BrokerUpdate(
        update_id=f"{client_order_id}:{event}",
        ts_ns=0,
        broker="alpaca",
        client_order_id=client_order_id,
        broker_order_id="",
        event=event,  # type: ignore[arg-type]  # a plain text in earlier releases
        symbol="",
        side="",
        quantity=quantity,
        price=Decimal(100),
        cum_quantity=cum,
        happened_ns=0,
        text="",
    )


def _account() -> BrokerAccount:
    money = Decimal(100_000)
    return BrokerAccount(
        update_id="acc", ts_ns=0, broker="alpaca", cash=money, equity=money, positions={}, open_orders={}
    )


def _broker_updates(intent: OrderIntent) -> list[Any]:
    if intent.kind != "SUBMIT":
        return []
    name = intent.client_order_id
    return [_update(name, "NEW"), _update(name, "TRADE", quantity=Decimal(1), cum=Decimal(1))]


def shard_state(shard: ServiceShard, settings: Settings) -> tuple[Any, Any]:
    """Return what Bytewax stores: the source's state has the state of the dead letter rate as its last element."""
    limits = settings.platform.dead_letters.limits_for(shard.service)
    rate = () if limits is None else (DeadLetterRate(limits).snapshot(),)
    return (*shard.reader.snapshot(), *rate), shard.logic.snapshot()


def open_feeds(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return how to open each kind of feed."""
    files = write_market(folder, symbols=("A", "B"), days=[MONDAY], open_time=time(10), minutes=30)
    quotes = folder / "quotes.csv"
    times = (f"{MONDAY.isoformat()}T{minute // 60:02}:{minute % 60:02}:30Z" for minute in range(14 * 60, 16 * 60))
    quotes.write_text("timestamp,symbol,bid,ask\n" + "".join(f"{time},A,9,10\n" for time in times))
    bar_settings = FeedSettings()
    return {
        "Simulator": lambda: Simulator(["A", "B"], 7, start_ns=START_NS, fast=True),
        "FileFeed": lambda: FileFeed(files, bar_settings, Tape(TapeFiles(quotes=[quotes]), bar_settings)),
        "LiveFeed": open_live_feed,
    }


def open_live_feed() -> Any:
    """Open a live feed with simulated bars, 30 seconds after each call of its clock, and with empty topics."""
    environment = {
        "MARKET_DATA__FEED": "live",
        "MARKET_DATA__PROVIDERS": '["simulator"]',
        "MARKET_DATA__LIVE__SYMBOLS": '["A", "B"]',
        "MARKET_DATA__LIVE__CALENDAR": "24/7",
    }
    feed: Any = live_feed_opener(load_settings(environment=environment))()
    clock = iter(range(START_NS, START_NS + 10**15, 30_000_000_000))
    feed._now_ns, feed._read_topic_state = lambda: next(clock), lambda since_ns: FeedTopicState()
    feed._follower = None  # it would wait for the topics of a Kafka that does not run
    return feed


def feed_state(feed: Any) -> dict[str, Any]:
    """Return what Bytewax stores for a feed after some time slices."""
    last_slice_ns = -1
    for _ in range(20):
        for time_slice in feed.take(1):
            last_slice_ns = time_slice.ts_ns
    return {"v": 1, "kind": type(feed).__name__, "feed": feed.state(), "last_tick_ns": last_slice_ns}


def take_stores() -> ServiceStores:
    stores: ServiceStores = {}
    settings, broker_settings = edge_settings(), gateway_settings()
    for shard in run_services(settings, broker=False):
        stores.setdefault(shard.service, {})[shard.shard] = shard_state(shard, settings)
    for shard in run_services(broker_settings, broker=True):
        if shard.service == "execution":
            stores[GATEWAY] = {shard.shard: shard_state(shard, broker_settings)}
    with tempfile.TemporaryDirectory() as folder:
        stores["market_data"] = {
            kind: (feed_state(open_feed()), None) for kind, open_feed in open_feeds(Path(folder)).items()
        }
    return stores


def main(file: Path) -> None:
    stores = take_stores()
    file.write_bytes(pickle.dumps(stores))
    print(f"{file}: {', '.join(f'{name} ({len(shards)})' for name, shards in stores.items())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
