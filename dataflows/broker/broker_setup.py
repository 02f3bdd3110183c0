"""Build the broker sink from the settings: the account, the intents of earlier processes, the output topic."""

from __future__ import annotations

import hashlib
import threading
import time

import psycopg2
import structlog
from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import AdminClient

from configs.settings import Settings
from dataflows.broker.alpaca_api import AlpacaApi
from dataflows.broker.alpaca_halt import start_broker_guard
from dataflows.broker.broker_client import BrokerClient
from dataflows.broker.broker_errors import BrokerRejected, BrokerThrottled, BrokerUncertain
from dataflows.broker.broker_sink import BrokerRequestSink
from dataflows.broker.live_preconditions import require_live_preconditions
from dataflows.broker.request_budget import RequestBudget
from dataflows.broker.submission_gate import SubmissionGate
from dataflows.broker.trade_updates_stream import TradeUpdatesStream
from dataflows.broker.updates import FINAL_STATUSES, OrderIdPrefix
from schemas.codec import encode
from schemas.errors import BadInput, Unavailable
from schemas.records import (
    CANCELED,
    EXPIRED,
    REJECTED,
    REPLACED,
    TOPIC_OF,
    BrokerAccount,
    BrokerActivity,
    BrokerUpdate,
    OrderIntent,
)
from schemas.records.flat import field_names, from_flat
from sinks.cluster import Servers, client_config
from sinks.database import libpq_url
from sinks.host_kill_switch import HostKillSwitch
from sinks.kafka import producer
from sinks.kafka_errors import topic_error
from sinks.leases import ServiceLease
from sinks.postgres import PostgresWriter

log = structlog.get_logger(__name__)
_FINAL_EVENTS = (CANCELED, EXPIRED, REJECTED, REPLACED)
_OPEN_SQL = f"""
    SELECT {", ".join(f"i.{name}" for name in field_names(OrderIntent))} FROM order_intents i
    WHERE EXISTS (
        SELECT FROM unnest(array[i.client_order_id, i.stop_client_order_id]) name WHERE name <> '' AND NOT EXISTS (
            SELECT 1 FROM broker_updates u WHERE u.client_order_id = name
            AND (u.event = ANY(%s) OR (u.event = 'ORDER' AND u.text = ANY(%s)))
        )
    ) ORDER BY i.seq
"""  # noqa: S608  (field names of our own record)


def build_broker_sink(
    settings: Settings, lease: ServiceLease | None = None, kill_switch: HostKillSwitch | None = None
) -> BrokerRequestSink:
    """Build the sink for a platform whose broker is Alpaca. It submits orders only while it holds the lease, and while
    the kill switch of this host is off.

    In live mode, it sends no order before the account is reconciled. Raises BadInput if the account is wrong or a
    precondition of live trading is missing, and Unavailable if Postgres, Kafka or, in live mode, the broker does not
    respond.
    """
    database, options = settings.database.postgres, settings.execution.alpaca
    gate = SubmissionGate((lambda: None) if kill_switch is None else kill_switch.halt)
    api = _checked_api(settings, lease, gate)
    order_ids = OrderIdPrefix(platform_id(settings) + "-")
    budget = RequestBudget(options.requests_per_minute)
    guard = None if kill_switch is None else start_broker_guard(settings, kill_switch, gate, order_ids, budget)
    open_intents, requested_up_to_seq = load_open_intents(database.url, database.retry_s)
    publisher = UpdatePublisher(settings.kafka.cluster, settings.kafka.topic_prefix)
    broker = BrokerClient(
        api,
        order_ids,
        options,
        publisher.publish,
        closed_reason=gate.closed_reason,
        reconcile_first=settings.execution.mode == "live",
        budget=budget,
    )
    broker.enqueue([(intent, True) for intent in open_intents])
    stream = _updates_stream(settings, broker)
    writer = PostgresWriter(database.url, name="gateway", unavailable_after_s=database.retry_s)
    broker.start()
    stream.start()
    log.info(
        "broker connection started",
        paper=settings.execution.mode == "paper",
        url=settings.alpaca.url,
        order_id_prefix=order_ids.prefix,
        open_intents=len(open_intents),
    )

    def shut_down() -> None:
        if guard is not None:
            guard.stop()
        stream.shut_down()
        broker.stop()
        publisher.flush()
        writer.close()

    return BrokerRequestSink(broker, writer.write, requested_up_to_seq=requested_up_to_seq, on_close=shut_down)


def _checked_api(settings: Settings, lease: ServiceLease | None, gate: SubmissionGate) -> AlpacaApi:
    """Return the client of the account. In live mode, require the preconditions and the configured account first."""
    key, secret = settings.alpaca.keys()
    paper = settings.execution.mode == "paper"
    api = AlpacaApi(
        key,
        secret,
        paper=paper,
        url=settings.alpaca.url,
        timeout_s=settings.execution.alpaca.request_timeout_s,
        may_submit=(lambda: True) if lease is None else lease.require_lease,
        submission=gate.submission,
    )
    if not paper:
        require_live_preconditions(settings)
        require_account(api, settings.execution.live_account or "")
    return api


def _updates_stream(settings: Settings, broker: BrokerClient) -> TradeUpdatesStream:
    key, secret = settings.alpaca.keys()
    paper = settings.execution.mode == "paper"
    return TradeUpdatesStream(
        key, secret, paper=paper, url=settings.alpaca.url, on_state=broker.on_state, on_update=broker.on_update
    )


def platform_id(settings: Settings) -> str:
    """Return the name of this platform's orders at the broker: the setting, else a hash of the Kafka cluster id.

    The cluster's topics number the orders, so a new platform on the same account never matches an old one's orders.
    """
    if settings.execution.alpaca.platform_id:
        return settings.execution.alpaca.platform_id
    admin = AdminClient(client_config(settings.kafka.cluster))
    cluster = str(admin.list_topics(timeout=30).cluster_id or "")
    if not cluster:
        raise Unavailable("Kafka reports no cluster id to name orders by; set execution.alpaca.platform_id")
    return hashlib.sha256(f"{cluster}/{settings.kafka.topic_prefix}".encode()).hexdigest()[:10]


def require_account(api: AlpacaApi, account: str, *, timeout_s: float = 60.0, retry_s: float = 2.0) -> None:
    """Require that the live keys belong to the configured account.

    Raises BadInput if the keys are rejected or belong to another account, and Unavailable if the broker does not
    respond for `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            account_number = api.account_snapshot().account_number
            break
        except BrokerRejected as rejection:
            raise BadInput(f"Alpaca rejected the keys of the live account: {rejection.message}") from rejection
        except (BrokerThrottled, BrokerUncertain) as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"Alpaca did not report the account of the live keys: {error}") from error
            time.sleep(retry_s)
    if account_number != account:
        raise BadInput(f"the live keys belong to account {account_number}, but execution.live_account is {account}")


def load_open_intents(database_url: str, retry_s: float) -> tuple[list[OrderIntent], int]:
    """Return intents without a recorded end, oldest first, and the last `seq` of any intent."""
    deadline = time.monotonic() + retry_s
    while True:
        try:
            connection = psycopg2.connect(libpq_url(database_url), connect_timeout=5)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(_OPEN_SQL, (list(_FINAL_EVENTS), sorted(FINAL_STATUSES)))
                    rows = [from_flat(OrderIntent, row) for row in cursor.fetchall()]
                    cursor.execute("SELECT coalesce(max(seq), 0) FROM order_intents")
                    last_row = cursor.fetchone()
                    return rows, int(last_row[0]) if last_row else 0
            finally:
                connection.close()
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline:
                raise Unavailable("Postgres did not return the open orders") from error
            time.sleep(0.5)


class UpdatePublisher:
    """Publishes to the topic `broker-updates`."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._servers, self._topic = servers, prefix + TOPIC_OF[BrokerUpdate]
        self._producer = producer(servers)
        self._lock = threading.Lock()
        self._error: str | None = None

    def publish(self, record: BrokerUpdate | BrokerAccount | BrokerActivity) -> None:
        """Publish in order. Raises Unavailable after any delivery failed; the publisher stays failed."""
        while True:
            if self._error is not None:
                raise Unavailable(self._error)
            try:
                with self._lock:
                    self._producer.produce(self._topic, encode(record), partition=0, on_delivery=self._on_delivery)
                    self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._error = topic_error(self._servers, error, "WRITE", self._topic)

    def flush(self) -> None:
        self._producer.flush(10)
