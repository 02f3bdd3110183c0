"""The dead-letter rate breaker counts over time slices. A restart at any slice does not change the result."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from configs.settings import load_settings
from dataflows.runtime import suspension_files
from operators.dead_letter_rate import DeadLetterRate, RateLimits

SECOND_NS = 1_000_000_000


def trips_at(limits: RateLimits, slice_counts: list[tuple[int, int, int]]) -> int | None:
    rate = DeadLetterRate(limits)
    return next(
        (ts_ns for ts_ns, accepted, rejected in slice_counts if rate.fold(ts_ns, accepted, rejected) is not None), None
    )


def test_more_than_the_limit_within_a_minute_of_event_time_trips() -> None:
    limits = RateLimits(per_minute=10, share=None)
    below_limit = [(second * 6 * SECOND_NS, 1, 1) for second in range(1, 100)]
    assert trips_at(limits, below_limit) is None, "ten a minute, and no more"
    above_limit = [(second * 5 * SECOND_NS, 1, 1) for second in range(1, 100)]
    assert trips_at(limits, above_limit) == 55 * SECOND_NS, "the eleventh within a minute"


def test_share_above_the_limit_trips_after_the_minimum_count() -> None:
    limits = RateLimits(per_minute=None, share=0.2, ticks=10, least=5)
    assert trips_at(limits, [(ts, 4, 1) for ts in range(1, 100)]) is None, "a fifth is allowed"
    assert trips_at(limits, [(ts, 3, 1) for ts in range(1, 100)]) == 5
    burst = [(ts, 100, 0) for ts in range(1, 11)] + [(ts, 0, 10) for ts in range(11, 30)]
    assert trips_at(limits, burst) == 18, "80 of 280 records of ten ticks; 70 of 370 were fine"


def test_without_a_limit_nothing_trips() -> None:
    assert trips_at(RateLimits(per_minute=None, share=None), [(ts, 0, 1000) for ts in range(100)]) is None


def test_restart_anywhere_trips_at_the_same_slice() -> None:
    rng = random.Random(2)
    slice_counts = [
        (ts * SECOND_NS, rng.randint(0, 9), rng.choice((0, 0, 0, rng.randint(0, 6)))) for ts in range(1, 400)
    ]
    limits = RateLimits(per_minute=45, share=0.4, ticks=7, least=4)
    expected = trips_at(limits, slice_counts)
    assert expected is not None and expected > 20 * SECOND_NS
    for cut in range(0, expected // SECOND_NS, 3):
        before = DeadLetterRate(limits)
        assert all(before.fold(*counts) is None for counts in slice_counts[:cut])
        after = DeadLetterRate(limits, snapshot=before.snapshot())
        assert (
            next(ts for ts, accepted, rejected in slice_counts[cut:] if after.fold(ts, accepted, rejected)) == expected
        )


def test_released_dead_letters_are_not_counted_again() -> None:
    limits = RateLimits(per_minute=10, share=None)
    slice_counts = [(second * SECOND_NS, 1, 1) for second in range(1, 100)]
    rate = DeadLetterRate(limits)
    assert next(ts for ts, *counts in slice_counts if rate.fold(ts, *counts)) == 11 * SECOND_NS
    rate.release(15 * SECOND_NS)
    assert next(ts for ts, *counts in slice_counts[11:] if rate.fold(ts, *counts)) == 26 * SECOND_NS


def test_suspension_persists_in_a_file_until_released(tmp_path: Path) -> None:
    assert suspension_files.read_suspension(tmp_path, "risk") is None
    assert suspension_files.release_suspension(tmp_path, "risk") is None
    suspension_files.write_suspension(tmp_path, "risk", 60, "too many")
    suspension = suspension_files.read_suspension(tmp_path, "risk")
    assert suspension is not None and suspension[:3] == ("risk", 60, "too many")
    assert suspension_files.last_released_ns(tmp_path) == -1
    assert suspension_files.release_suspension(tmp_path, "risk") == suspension
    assert suspension_files.read_suspension(tmp_path, "risk") is None
    assert suspension_files.last_released_ns(tmp_path) == 60
    suspension_files.write_suspension(tmp_path, "risk", 120, "again")
    assert [released.at_ns for released in suspension_files.release_all(tmp_path)] == [120]
    assert suspension_files.last_released_ns(tmp_path) == 120


def test_limits_apply_to_all_services_or_to_one() -> None:
    environment = {"PLATFORM__DEAD_LETTERS__SERVICES": "{risk: {per_minute: 5}}"}
    limits = load_settings(environment=environment).platform.dead_letters
    assert limits.limits_for("risk").per_minute == 5 and limits.limits_for("features") == limits.every == RateLimits()


@pytest.mark.parametrize("share", [0.0, 0.99])
def test_share_is_a_fraction_of_all_records(share: float) -> None:
    limits = RateLimits(per_minute=None, share=share, ticks=5, least=1)
    assert (trips_at(limits, [(1, 1, 1)]) is None) == (share > 0.5)
