"""Commands are verified by the keys that their log records: every forgery is rejected, a halt is applied."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from operators.command_signatures import REASON_PREFIX, RECENT_MAX, CommandSignatures, CommandVerdict
from schemas.codec import decode, encode
from schemas.records import HEARTBEAT, KILL_SWITCH, RELEASE, SIGNING_KEY, Command
from sinks.signing_keys import CLOCK_TOLERANCE_NS, COMMAND_LINE, FEED, GATEWAY, WRITERS, key_record, root_record
from tests.builders import command
from tests.builders.signing import SigningAuthority

AUTHORITY = SigningAuthority()
ORDER = {"symbol": "AAPL", "side": "BUY", "quantity": "10", "order_type": "MARKET"}


def submit(name: str = "cmd-1", ts_ns: int = 5, *, actor: str = "ann") -> Command:
    return command(name, ts_ns, "SUBMIT_ORDER", ORDER, actor=actor)


def after(records: Sequence[Command], start: CommandSignatures | None = None) -> CommandSignatures:
    """Return the state after records that must all be accepted without a complaint."""
    state = CommandSignatures() if start is None else start
    for record in records:
        verdict = state.check(record)
        assert verdict.is_accepted and not verdict.reason, verdict.reason
        state = verdict.signatures
    return state


KEYS_RECORDED = after(AUTHORITY.records)


def rejection(verdict: CommandVerdict) -> str:
    assert not verdict.is_accepted
    assert verdict.reason.startswith(REASON_PREFIX)
    return verdict.reason


def test_commands_need_no_signature_before_the_cut_over() -> None:
    state = after([submit(), command("cmd-2", 2, RELEASE)])
    assert not state.required


def test_signed_commands_of_every_writer_are_accepted() -> None:
    after(
        [
            AUTHORITY.sign(submit()),
            AUTHORITY.sign(command("cmd-2", 1, RELEASE), COMMAND_LINE),
            AUTHORITY.sign(command("cmd-3", 1, HEARTBEAT, actor=FEED), FEED),
            AUTHORITY.sign(command("cmd-4", 1, KILL_SWITCH), GATEWAY),
        ],
        KEYS_RECORDED,
    )


def test_a_command_without_a_signature_is_rejected_after_the_cut_over() -> None:
    assert "no signature" in rejection(KEYS_RECORDED.check(submit()))
    assert "no signature" in rejection(KEYS_RECORDED.check(command("cmd-2", 1, RELEASE)))


@pytest.mark.parametrize(
    "forged",
    [
        AUTHORITY.sign(submit())._replace(command_id="cmd-2"),
        AUTHORITY.sign(submit())._replace(ts_ns=6),
        AUTHORITY.sign(submit())._replace(kind="AMEND_ORDER"),
        AUTHORITY.sign(submit())._replace(actor="admin"),
        AUTHORITY.sign(submit())._replace(reason="other"),
        AUTHORITY.sign(submit())._replace(arguments={**ORDER, "quantity": "1000"}),
        AUTHORITY.sign(submit())._replace(key_id=AUTHORITY.keys[COMMAND_LINE].key_id),
        AUTHORITY.sign(submit())._replace(signature="AAAA"),
        AUTHORITY.sign(submit())._replace(signature="not base64!"),
    ],
    ids=["id", "time", "kind", "actor", "reason", "arguments", "key", "short", "malformed"],
)
def test_a_changed_field_invalidates_the_signature(forged: Command) -> None:
    assert "the signature is not that of key" in rejection(KEYS_RECORDED.check(forged))


def test_a_key_that_the_log_does_not_record_is_rejected() -> None:
    assert "unknown key" in rejection(KEYS_RECORDED.check(SigningAuthority(seed="thief").sign(submit())))


def test_a_command_of_another_platform_is_rejected() -> None:
    key = AUTHORITY.keys["api"]
    elsewhere = key._replace(platform_id="platform-2").sign(submit())
    assert "on platform platform-1" in rejection(KEYS_RECORDED.check(elsewhere))


@pytest.mark.parametrize(
    ("writer", "forged", "problem"),
    [
        (FEED, submit(actor="admin"), "may not sign this kind"),
        (GATEWAY, command("cmd-1", 1, RELEASE), "may not sign this kind"),
        ("api", command("cmd-1", 1, HEARTBEAT, actor=FEED), "may not sign this kind"),
        (FEED, command("cmd-1", 1, "FEED_SWITCHED", actor="admin"), "may not sign for this actor"),
        ("api", command("cmd-1", 1, SIGNING_KEY), "is not the root key"),
    ],
)
def test_a_key_signs_only_for_its_kinds_and_actors(writer: str, forged: Command, problem: str) -> None:
    assert problem in rejection(KEYS_RECORDED.check(AUTHORITY.sign(forged, writer)))


def test_the_root_key_signs_no_orders() -> None:
    assert "may not sign this kind" in rejection(KEYS_RECORDED.check(AUTHORITY.root.sign(submit())))


def test_a_key_is_valid_in_its_period_only() -> None:
    created_ns, until_ns = 100 + CLOCK_TOLERANCE_NS, 200 + CLOCK_TOLERANCE_NS
    key = AUTHORITY.new_key("api", "short", created_ns=created_ns, valid_until_ns=until_ns)
    # A submission of the day before the key, whose retry it signs, is valid.
    state = after([key_record(AUTHORITY.root, key), key.sign(submit("cmd-1", 100))], KEYS_RECORDED)
    assert "is valid from 100" in rejection(state.check(key.sign(submit("cmd-2", 99))))
    assert f"was valid until {until_ns}" in rejection(state.check(key.sign(submit("cmd-3", until_ns))))


def test_a_revoked_key_is_rejected_whatever_time_its_commands_claim() -> None:
    key = AUTHORITY.keys["api"]
    state = after([AUTHORITY.revocation(key)], KEYS_RECORDED)
    assert "is revoked" in rejection(state.check(key.sign(submit(ts_ns=1))))
    # Its own record, repeated, does not bring it back; nor does a new record of it.
    assert not state.check(key_record(AUTHORITY.root, key)).is_accepted
    longer = key_record(AUTHORITY.root, key._replace(valid_until_ns=10**18))
    assert "revoked" in rejection(state.check(longer))


def test_a_repeated_copy_has_no_effect_and_is_no_dead_letter() -> None:
    signed = AUTHORITY.sign(command("cmd-1", 1, RELEASE))
    state = after([signed], KEYS_RECORDED)
    assert state.check(signed) == CommandVerdict(state, is_accepted=False)


def test_a_copy_older_than_the_retained_ids_is_rejected() -> None:
    old = AUTHORITY.sign(command("cmd-old", 1, RELEASE))
    newer = [AUTHORITY.sign(submit(f"cmd-{number}", 10 + number)) for number in range(RECENT_MAX)]
    state = after([old, *newer], KEYS_RECORDED)
    assert "are newer" in rejection(state.check(old))


def test_a_halt_without_a_valid_signature_is_applied_and_reported() -> None:
    for halt in (command("cmd-1"), SigningAuthority(seed="thief").sign(command("cmd-2"))):
        verdict = KEYS_RECORDED.check(halt)
        assert verdict.is_accepted
        assert "a halt is the safe direction" in verdict.reason
        assert verdict.signatures is KEYS_RECORDED


def test_the_first_root_key_stays_the_anchor() -> None:
    thief = SigningAuthority(seed="thief")
    assert "unknown key" in rejection(KEYS_RECORDED.check(root_record(thief.root)))
    unsigned = root_record(thief.root)._replace(key_id="", signature="")
    assert "must be signed by its own key" in rejection(CommandSignatures().check(unsigned))


def test_the_root_key_is_replaced_by_a_record_of_the_old_one() -> None:
    new_root = AUTHORITY.new_key("root", "next")
    state = after([AUTHORITY.root.sign(root_record(new_root))], KEYS_RECORDED)
    key = AUTHORITY.new_key("api", "next")
    assert "is revoked" in rejection(state.check(key_record(AUTHORITY.root, key)))
    after([key_record(new_root, key), key.sign(submit()), AUTHORITY.sign(submit("cmd-2"))], state)


@pytest.mark.parametrize(
    ("name", "value"), [("public_key", "AAAA"), ("writer", "root"), ("kinds", "SIGNING_KEY"), ("valid_from_ns", "now")]
)
def test_a_malformed_key_record_is_rejected(name: str, value: str) -> None:
    record = key_record(AUTHORITY.root, AUTHORITY.new_key("api", "next"))
    changed = AUTHORITY.root.sign(record._replace(arguments={**record.arguments, name: value}))
    assert rejection(KEYS_RECORDED.check(changed))


def test_the_state_is_restored_from_its_snapshot() -> None:
    signed = AUTHORITY.sign(submit())
    state = after([signed, AUTHORITY.revocation(AUTHORITY.keys[FEED])], KEYS_RECORDED)
    restored = CommandSignatures.restored(state.snapshot())
    assert restored == state
    assert not restored.check(signed).is_accepted


def test_a_signature_survives_the_codec_and_the_order_of_the_arguments() -> None:
    signed = AUTHORITY.sign(submit())
    assert decode(encode(signed)) == signed
    reordered = signed._replace(arguments=dict(reversed(signed.arguments.items())))
    after([reordered], KEYS_RECORDED)


def test_every_kind_of_command_can_be_signed_by_someone() -> None:
    from typing import get_args

    from operators.command_signatures import SIGNING_KINDS
    from schemas.records import CommandKind

    assert {kind for rights in WRITERS.values() for kind in rights.kinds} | SIGNING_KINDS == set(get_args(CommandKind))
