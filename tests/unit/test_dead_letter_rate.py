"""The rate breaker counts over ticks: the same however the ticks come, and after a restart anywhere."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from configs.settings import load_settings
from dataflows.runtime import halting
from operators.dead_letter_rate import DeadLetterRate, RateLimits

SECOND_NS = 1_000_000_000


def trips_at(limits: RateLimits, ticks: list[tuple[int, int, int]]) -> int | None:
    rate = DeadLetterRate(limits)
    return next((ts_ns for ts_ns, taken, aside in ticks if rate.fold(ts_ns, taken, aside) is not None), None)


def test_more_than_so_many_within_a_minute_of_event_time_trip_it() -> None:
    limits = RateLimits(per_minute=10, share=None)
    slowly = [(second * 6 * SECOND_NS, 1, 1) for second in range(1, 100)]
    assert trips_at(limits, slowly) is None, "ten a minute, and no more"
    quickly = [(second * 5 * SECOND_NS, 1, 1) for second in range(1, 100)]
    assert trips_at(limits, quickly) == 55 * SECOND_NS, "the eleventh within a minute"


def test_too_large_a_share_of_the_last_ticks_trips_it_once_there_are_enough() -> None:
    limits = RateLimits(per_minute=None, share=0.2, ticks=10, least=5)
    assert trips_at(limits, [(ts, 4, 1) for ts in range(1, 100)]) is None, "a fifth is allowed"
    assert trips_at(limits, [(ts, 3, 1) for ts in range(1, 100)]) == 5
    burst = [(ts, 100, 0) for ts in range(1, 11)] + [(ts, 0, 10) for ts in range(11, 30)]
    assert trips_at(limits, burst) == 18, "80 of 280 records of ten ticks; 70 of 370 were fine"


def test_without_a_limit_nothing_trips() -> None:
    assert trips_at(RateLimits(per_minute=None, share=None), [(ts, 0, 1000) for ts in range(100)]) is None


def test_it_trips_at_the_same_tick_after_a_restart_anywhere() -> None:
    rng = random.Random(2)
    ticks = [(ts * SECOND_NS, rng.randint(0, 9), rng.choice((0, 0, 0, rng.randint(0, 6)))) for ts in range(1, 400)]
    limits = RateLimits(per_minute=45, share=0.4, ticks=7, least=4)
    expected = trips_at(limits, ticks)
    assert expected is not None and expected > 20 * SECOND_NS
    for cut in range(0, expected // SECOND_NS, 3):
        before = DeadLetterRate(limits)
        assert all(before.fold(*tick) is None for tick in ticks[:cut])
        after = DeadLetterRate(limits, start=before.snapshot())
        assert next(ts for ts, taken, aside in ticks[cut:] if after.fold(ts, taken, aside)) == expected


def test_what_was_released_is_not_counted_again() -> None:
    limits = RateLimits(per_minute=10, share=None)
    ticks = [(second * SECOND_NS, 1, 1) for second in range(1, 100)]
    rate = DeadLetterRate(limits)
    assert next(ts for ts, *counts in ticks if rate.fold(ts, *counts)) == 11 * SECOND_NS
    rate.release(15 * SECOND_NS)
    assert next(ts for ts, *counts in ticks[11:] if rate.fold(ts, *counts)) == 26 * SECOND_NS


def test_a_halt_is_held_in_a_file_until_it_is_released(tmp_path: Path) -> None:
    assert halting.read_halt(tmp_path, "risk") is None and halting.release(tmp_path, "risk") is None
    halting.write_halt(tmp_path, "risk", 60, "too many")
    halt = halting.read_halt(tmp_path, "risk")
    assert halt is not None and halt[:3] == ("risk", 60, "too many")
    assert halting.released_ns(tmp_path) == -1
    assert halting.release(tmp_path, "risk") == halt
    assert (halting.read_halt(tmp_path, "risk"), halting.released_ns(tmp_path)) == (None, 60)
    halting.write_halt(tmp_path, "risk", 120, "again")
    assert [one.at_ns for one in halting.release_all(tmp_path)] == [120]
    assert halting.released_ns(tmp_path) == 120


def test_limits_are_settings_for_every_service_and_for_one() -> None:
    told = {"PLATFORM__DEAD_LETTERS__SERVICES": "{risk: {per_minute: 5}}"}
    limits = load_settings(environment=told).platform.dead_letters
    assert limits.of("risk").per_minute == 5 and limits.of("features") == limits.every == RateLimits()


@pytest.mark.parametrize("share", [0.0, 0.99])
def test_a_share_is_of_all_that_came(share: float) -> None:
    limits = RateLimits(per_minute=None, share=share, ticks=5, least=1)
    assert (trips_at(limits, [(1, 1, 1)]) is None) == (share > 0.5)
