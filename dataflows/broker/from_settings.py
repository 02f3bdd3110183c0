"""From the settings to the asking sink: the account, what earlier processes intended, and where answers go."""

from __future__ import annotations

import hashlib
import threading
import time

import psycopg2
import structlog
from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import AdminClient

from configs.settings import Settings
from dataflows.broker.broker_client import BrokerEdge, EdgeSettings
from dataflows.broker.http_api import AlpacaApi, Busy, Refused, Unsure
from dataflows.broker.request_sink import AskingSink
from dataflows.broker.stream import UpdatesStream
from dataflows.broker.updates import FINAL, Named
from schemas.codec import encode
from schemas.errors import BadInput, Unavailable
from schemas.records import TOPIC_OF, BrokerAccount, BrokerUpdate, OrderIntent
from sinks.cluster import Servers, client
from sinks.database import libpq_url
from sinks.kafka import producer
from sinks.postgres import PostgresWriter

log = structlog.get_logger(__name__)
_ENDED = ("CANCELED", "EXPIRED", "REJECTED", "REPLACED")
_OPEN_SQL = f"""
    SELECT {", ".join(f"i.{name}" for name in OrderIntent._fields)} FROM order_intents i
    WHERE NOT EXISTS (
        SELECT 1 FROM broker_updates u WHERE u.client_order_id = i.client_order_id
        AND (u.event = ANY(%s) OR (u.event = 'ORDER' AND u.text = ANY(%s)))
    ) ORDER BY i.seq
"""  # noqa: S608  (field names of our own record)


def asking_sink(settings: Settings) -> AskingSink:
    """The sink of a platform whose broker is Alpaca. Raises BadInput for a wrong account, Unavailable where Postgres,
    Kafka or, in live mode, the broker does not answer.
    """
    execution, alpaca = settings.execution, settings.alpaca
    key, secret = alpaca.keys()
    paper = execution.mode == "paper"
    api = AlpacaApi(key, secret, paper=paper, url=alpaca.url, timeout_s=execution.alpaca.request_timeout_s)
    if not paper:
        require_account(api, execution.live_account or "")
    named = Named(platform_id(settings) + "-")
    open_intents, asked_up_to = _earlier(settings.database.postgres.url, settings.database.postgres.retry_s)
    answers = Answers(settings.kafka.cluster, settings.kafka.topic_prefix)
    given = execution.alpaca
    edge = BrokerEdge(
        api,
        named,
        EdgeSettings(
            order_age_max_s=given.order_age_max_s,
            settle_s=given.settle_s,
            refetch_s=given.refetch_s,
            poll_s=given.poll_s,
            reconcile_s=given.reconcile_s,
            requests_per_minute=given.requests_per_minute,
        ),
        answers.tell,
    )
    edge.take([(intent, True) for intent in open_intents])
    stream = UpdatesStream(key, secret, paper=paper, url=alpaca.url, on_state=edge.on_state, on_update=edge.on_update)
    writer = PostgresWriter(
        settings.database.postgres.url, name="gateway", unavailable_after_s=settings.database.postgres.retry_s
    )
    edge.start()
    stream.start()
    log.info("broker", paper=paper, url=alpaca.url, orders_named=named.prefix, open_intents=len(open_intents))

    def end() -> None:
        stream.end()
        edge.end()
        answers.flush()
        writer.close()

    return AskingSink(edge, writer.write, asked_up_to=asked_up_to, end=end)


def platform_id(settings: Settings) -> str:
    """What names this platform's orders at the broker: as set, else a hash of the Kafka cluster whose topics count
    them, so that a new platform on the same account never takes an old one's order for its own.
    """
    if settings.execution.alpaca.platform_id:
        return settings.execution.alpaca.platform_id
    admin = AdminClient(client(settings.kafka.cluster))
    cluster = str(admin.list_topics(timeout=30).cluster_id or "")
    if not cluster:
        raise Unavailable(
            "Kafka has no cluster id to name orders by; set execution.alpaca.platform_id to a name of this platform"
        )
    return hashlib.sha256(f"{cluster}/{settings.kafka.topic_prefix}".encode()).hexdigest()[:10]


def require_account(api: AlpacaApi, account: str, *, within_s: float = 60.0, again_s: float = 2.0) -> None:
    """Real money goes out of no other account than the one that was named. Raises BadInput where the keys are another
    account's or refused, Unavailable where the broker said nothing `within_s` seconds.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            found = api.books().account_number
            break
        except Refused as refused:
            raise BadInput(f"Alpaca refuses the keys of the live account: {refused.message}") from refused
        except (Busy, Unsure) as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"Alpaca did not say whose keys these are: {error}") from error
            time.sleep(again_s)
    if found != account:
        raise BadInput(f"the live keys are of account {found}, and execution.live_account names {account}")


def _earlier(database_url: str, retry_s: float) -> tuple[list[OrderIntent], int]:
    """Intents whose end is not on record, oldest first, and the last `seq` of any."""
    deadline = time.monotonic() + retry_s
    while True:
        try:
            connection = psycopg2.connect(libpq_url(database_url), connect_timeout=5)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(_OPEN_SQL, (list(_ENDED), sorted(FINAL)))
                    rows = [OrderIntent._make(row) for row in cursor.fetchall()]
                    cursor.execute("SELECT coalesce(max(seq), 0) FROM order_intents")
                    last = cursor.fetchone()
                    return rows, int(last[0]) if last else 0
            finally:
                connection.close()
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline:
                raise Unavailable("Postgres did not say which orders are open") from error
            time.sleep(0.5)


class Answers:
    """The end of the topic `broker-updates`."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._topic = prefix + TOPIC_OF[BrokerUpdate]
        self._producer = producer(servers)
        self._lock = threading.Lock()
        self._error: str | None = None

    def tell(self, record: BrokerUpdate | BrokerAccount) -> None:
        """In order, and for good: raises Unavailable once one was not delivered."""
        while True:
            if self._error is not None:
                raise Unavailable(f"topic {self._topic}: {self._error}")
            try:
                with self._lock:
                    self._producer.produce(self._topic, encode(record), partition=0, on_delivery=self._delivered)
                    self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._error = error.str()

    def flush(self) -> None:
        self._producer.flush(10)
