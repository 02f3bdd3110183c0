"""A change of the configuration that needs two persons: the request, and the change on top of later configurations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configs.configuration_changes import next_configuration, with_overrides
from configs.configuration_publishing import Changes, ConfigurationChange, Origin, needs_second_person, prepare_change
from configs.configuration_requests import ConfigurationRequest, prepare_approved, read_request, request_arguments
from configs.settings import Settings, load_settings
from operators.approvals import RELEASE_REQUESTED
from schemas.errors import BadInput
from schemas.records import Configuration
from tests.builders import command

LIMIT = "risk_manager.max_order_notional"


@pytest.fixture(scope="module")
def settings() -> Settings:
    loaded = load_settings(environment={})
    return loaded.model_copy(update={"risk_manager": replace(loaded.risk_manager, approvals=("releases",))})


@pytest.fixture(scope="module")
def first(settings: Settings) -> Configuration:
    return next_configuration(None, settings, overrides={}, actor="ann", reason="start", release="1")


def request_of(last: Configuration, changes: Changes, number: int = 1, actor: str = "ann") -> ConfigurationRequest:
    return read_request(command(f"cmd-{number}", 7, RELEASE_REQUESTED, request_arguments(last, changes), actor=actor))


def record_of(change: ConfigurationChange) -> Configuration:
    assert change.record is not None
    return change.record


@pytest.mark.parametrize("approvals", ["releases", "reconciliation", "configuration"])
def test_every_kind_of_approval_covers_the_configuration(settings: Settings, approvals: str) -> None:
    strict = settings.model_copy(
        update={"risk_manager": replace(settings.risk_manager, approvals=(approvals,))}  # type: ignore[arg-type]
    )
    assert needs_second_person(next_configuration(None, strict, overrides={}, actor="", reason="", release="1"))
    free = load_settings(environment={})
    assert not needs_second_person(next_configuration(None, free, overrides={}, actor="", reason="", release="1"))


def test_an_approved_change_names_both_persons_and_the_request(settings: Settings, first: Configuration) -> None:
    request = request_of(first, {LIMIT: "500", "signals.strategies.ema_cross.capital": '"0.5"'})
    record = record_of(prepare_approved(settings, first, request, "bob"))
    assert (record.number, record.actor, record.requested_by, record.request_id) == (2, "bob", "ann", "cmd-1")
    assert record.overrides == {LIMIT: "500", "signals.strategies.ema_cross.capital": '"0.5"'}


def test_an_approved_change_keeps_what_others_changed_since_the_request(
    settings: Settings, first: Configuration
) -> None:
    request = request_of(first, {LIMIT: "500"})
    other = record_of(prepare_change(settings, first, {"feedback.horizon_bars": "50"}, Origin("carl", "other")))
    record = record_of(prepare_approved(settings, other, request, "bob"))
    assert (record.number, record.overrides) == (3, {LIMIT: "500", "feedback.horizon_bars": "50"})


def test_of_two_requests_for_one_setting_only_the_first_approved_one_applies(
    settings: Settings, first: Configuration
) -> None:
    one, two = request_of(first, {LIMIT: "500"}, 1), request_of(first, {LIMIT: "600"}, 2)
    second = record_of(prepare_approved(settings, first, two, "bob"))
    with pytest.raises(BadInput, match=r"max_order_notional has changed since the request: it was .* and is .*600.*2;"):
        prepare_approved(settings, second, one, "bob")


def test_a_change_that_a_restart_made_invalid_is_refused(settings: Settings, first: Configuration) -> None:
    request = request_of(first, {"signals.strategies.ema_cross.parameters.fast": "5"})
    without = with_overrides(settings, {"signals.strategies": "[]"})
    later = next_configuration(first, without, overrides={}, actor="ann", reason="start", release="1")
    with pytest.raises(BadInput, match="unknown strategy ema_cross"):
        prepare_approved(without, later, request, "bob")


def test_a_request_can_end_an_override(settings: Settings, first: Configuration) -> None:
    changed = record_of(prepare_approved(settings, first, request_of(first, {LIMIT: "500"}), "bob"))
    request = request_of(changed, {LIMIT: None}, 2)
    assert (request.set, request.unset, request.before) == ({}, [LIMIT], {LIMIT: "500"})
    ended = record_of(prepare_approved(settings, changed, request, "bob"))
    assert (ended.overrides, ended.sha256) == ({}, first.sha256)


def test_a_request_that_is_too_long_is_refused(first: Configuration) -> None:
    with pytest.raises(BadInput, match=r"the change has .* bytes, expected at most 200000"):
        request_arguments(first, {"instruments.listed": '"' + "x" * 200_000 + '"'})
