"""Configurations: numbers, signatures, and what a restarted reader remembers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from operators.alignment import AlignedLogs
from operators.configuration_chain import ConfigurationChain
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
    changes: Any = {field: {"a": "b"} if isinstance(value, dict) else value * 2}
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
