"""Seeded headlines for the simulator's symbols, for running the news services without an API key."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b

from operators.news import news_id
from schemas.errors import BadInput
from schemas.records import NewsItem, Record

POSITIVE_TEMPLATES = (
    "{} beats estimates and raises its outlook",
    "{} wins a record order from a new customer",
    "Analysts upgrade {} after strong growth",
    "{} announces a larger buyback, shares surge",
)
NEGATIVE_TEMPLATES = (
    "{} misses estimates, shares plunge",
    "{} cuts its outlook and warns of weak demand",
    "Regulators open an investigation into {}",
    "Analysts downgrade {} on mounting losses",
)
NEUTRAL_TEMPLATES = (
    "{} names a new head of operations",
    "{} will report quarterly results on Thursday",
    "What to know about {}",
)
TEMPLATES = (*POSITIVE_TEMPLATES, *NEGATIVE_TEMPLATES, *NEUTRAL_TEMPLATES)
CATCH_UP_SLOTS_MAX = 4  # slots emitted at most after a pause


class SimulatedNewsSource:
    """A `PollableSource` with a headline in about half of the slots of `interval_s`.

    A headline is a pure function of (seed, slot); only the pace depends on a clock.
    """

    def __init__(
        self, symbols: Sequence[str], seed: int, *, interval_s: float, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        if not symbols or interval_s <= 0:
            raise BadInput(f"simulated news need symbols and an interval > 0, found {list(symbols)} and {interval_s}")
        self.interval_s = interval_s
        self._symbols, self._seed, self._now_ns = sorted(symbols), seed, now_ns
        self._slot_ns = round(interval_s * 1e9)
        self._next_slot = now_ns() // self._slot_ns

    def poll(self) -> list[Record]:
        current_slot = self._now_ns() // self._slot_ns
        first_slot = max(self._next_slot, current_slot - CATCH_UP_SLOTS_MAX)
        self._next_slot = max(self._next_slot, current_slot)
        return [item for slot in range(first_slot, current_slot) if (item := self.item(slot)) is not None]

    def item(self, slot: int) -> NewsItem | None:
        """Return the headline of a slot, published at the slot's end, or None."""
        random_bits = int.from_bytes(blake2b(f"{self._seed}:{slot}".encode(), digest_size=8).digest(), "big")
        if random_bits % 2:
            return None
        symbol = self._symbols[random_bits // 2 % len(self._symbols)]
        template = TEMPLATES[random_bits // 1_000_003 % len(TEMPLATES)]
        known_ns = (slot + 1) * self._slot_ns
        headline = template.format(symbol)
        item_id = news_id("simulator", headline, known_ns, f"{self._seed}:{slot}")
        return NewsItem(
            news_id=item_id,
            ts_ns=known_ns,
            published_ns=known_ns,
            source="simulator",
            headline=headline,
            summary="",
            url="",
            symbols=[symbol],
        )
