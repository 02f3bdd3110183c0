"""Configurations: numbers, signatures, and what a restarted reader remembers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from operators.alignment import AlignedLogs
from operators.configuration_chain import ConfigurationChain, signed_bytes
from operators.log_cursor import LogInput
from schemas.errors import BadInput
from schemas.records import Clock, Configuration, DeadLetter
from sinks.signing_keys import API, configuration_signers, new_key, read_key, sign_configuration, write_key
from tests.builders import configuration

LOG = LogInput("configuration", 0, 0)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for writer in ("root", "command-line", API):
        write_key(tmp_path, new_key("platform", writer, 1))
    return tmp_path


def first(keys: Path) -> Configuration:
    return configuration(1)._replace(signers=configuration_signers(keys))


def second(keys: Path, **changes: Any) -> Configuration:
    return sign_configuration(keys, configuration(2)._replace(**changes), configuration_signers(keys))


def records_of(*records: Configuration, crash_after: int | None = None) -> list[Any]:
    """Return the records of the time slices of a reader, one slice per record. It may crash after one of them."""
    reader, out = AlignedLogs("risk", [LOG]), list[Any]()
    for number, record in enumerate(records):
        reader.feed("configuration", 0, [(2 * number, record), (2 * number + 1, Clock(number + 1, "market_data"))])
        out += [record for time_slice in reader.take_slices(100) for record in time_slice.records]
        if number == crash_after:
            reader = AlignedLogs("risk", [LOG], pickle.loads(pickle.dumps(reader.snapshot())))  # noqa: S301
    return out


@pytest.mark.parametrize("crash_after", [None, 0, 1, 2])
def test_only_the_first_record_of_a_number_is_accepted(crash_after: int | None) -> None:
    won, lost = configuration(2, reason="first"), configuration(2, reason="second")
    found = records_of(configuration(1), won, lost, won, configuration(3), crash_after=crash_after)
    assert [(one.number, one.reason) for one in found] == [(1, "because"), (2, "first"), (3, "because")]


@pytest.mark.parametrize("crash_after", [None, 0, 1])
def test_after_the_first_record_with_keys_a_signature_is_needed(keys: Path, crash_after: int | None) -> None:
    forged = configuration(2, reason="forged")
    found = records_of(first(keys), forged, second(keys), crash_after=crash_after)
    assert [type(one) for one in found] == [Configuration, DeadLetter, Configuration]
    assert found[1].reason == "signature: config-2 of actor tester: no signature"
    assert found[2] == second(keys)


@pytest.mark.parametrize("field", [name for name in Configuration._fields if name not in ("signature", "number")])
def test_a_changed_field_is_rejected(keys: Path, field: str) -> None:
    record = second(keys)
    value = getattr(record, field)
    changes: Any = {field: {"a": "b"} if isinstance(value, dict) else (value or "x") * 2}
    changed = record._replace(**changes)
    chain = ConfigurationChain().check(first(keys)).signatures
    assert chain.check(record).is_accepted
    verdict = chain.check(changed)
    assert not verdict.is_accepted and verdict.reason and verdict.signatures == chain


def test_a_key_that_the_last_record_does_not_name_may_not_sign(keys: Path) -> None:
    record, chain = second(keys, signers={}), ConfigurationChain().check(first(keys)).signatures
    write_key(keys, new_key("platform", API, 2))
    rotated = read_key(keys, API)
    assert rotated is not None
    verdict = chain.check(rotated.sign_configuration(record))
    assert verdict.reason.endswith(f"key {rotated.key_id} may not sign configurations")
    for path in keys.iterdir():
        path.unlink()
    with pytest.raises(BadInput, match="none of the keys in"):
        sign_configuration(keys, record, chain.signers)


APPROVALS = '{"risk_manager":{"approvals":["releases"]}}'
JSON_OPTIONS: dict[str, Any] = {"sort_keys": True, "separators": (",", ":")}


def approved(number: int, overrides: dict[str, str], **changes: Any) -> Configuration:
    return configuration(number, text=APPROVALS)._replace(overrides=overrides, **changes)


@pytest.mark.parametrize("crash_after", [None, 0, 1, 2, 3])
def test_a_change_by_one_person_is_rejected_where_two_are_required(crash_after: int | None) -> None:
    start = configuration(1, text=APPROVALS)
    alone = approved(2, {"a": "1"})
    own = approved(2, {"a": "1"}, requested_by="host:tester")  # the actor is "tester"
    two = approved(2, {"a": "1", "b": "2"}, requested_by="ann", request_id="cmd-1")
    unset = approved(3, {"a": "1"})
    restart = approved(3, {"a": "1"}, dropped={"b": "unknown strategy"})
    found = records_of(start, alone, own, two, unset, restart, crash_after=crash_after)
    assert [one for one in found if type(one) is Configuration] == [start, two, restart]
    reasons = [one.reason for one in found if type(one) is DeadLetter]
    assert len(reasons) == 3 and set(reasons) == {
        f"signature: config-{number} of actor tester: a change at run time must name two persons "
        "(risk_manager.approvals)"
        for number in (2, 3)
    }


def test_a_start_that_ends_the_approvals_allows_one_person_again() -> None:
    found = records_of(
        configuration(1, text=APPROVALS), configuration(2), configuration(3)._replace(overrides={"a": "1"})
    )
    assert [one.number for one in found] == [1, 2, 3]


def test_a_signature_from_before_the_later_fields_is_valid() -> None:
    """The bytes of a record without them are those of the first schema."""
    record = configuration(2)
    first_fields = len(record) - 3
    text = json.dumps(["institutional-trading-platform configuration 1", *record[:first_fields]], **JSON_OPTIONS)
    assert signed_bytes(record) == text.encode()
    assert signed_bytes(record._replace(request_id="cmd-1")) != signed_bytes(record)


def test_a_snapshot_without_approvals_is_restored() -> None:
    assert ConfigurationChain.restored((3, {"key": "public"})) == ConfigurationChain(3, {"key": "public"})
    chain = ConfigurationChain.after(approved(4, {"a": "1"}))
    assert ConfigurationChain.restored(pickle.loads(pickle.dumps(chain.snapshot()))) == chain  # noqa: S301
