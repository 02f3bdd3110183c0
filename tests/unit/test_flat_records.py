"""Records as flat rows: the fields of an order's terms stand where the record's Avro schema has them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from schemas.codec import SCHEMA_IDS, decode, encode, schema_json
from schemas.records import BUY, GTD, STOP_LIMIT, SUBMIT, CheckResult, Order, OrderIntent, OrderProposal, OrderTerms
from schemas.records.flat import RECORDS_WITH_TERMS, field_names, field_types, from_flat, to_flat, to_flat_dict
from tests.builders import bar

TERMS = OrderTerms(
    symbol="AAPL",
    side=BUY,
    quantity=Decimal(7),
    order_type=STOP_LIMIT,
    time_in_force=GTD,
    limit_price=Decimal(11),
    stop_price=Decimal(12),
    trail_amount=Decimal(13),
    trail_percent=Decimal(14),
    expires_ns=15,
    reduce_only=True,
    group_id="group-16",
    parent_id="parent-17",
)
PROPOSAL = OrderProposal(
    seq=1,
    ts_ns=2,
    proposal_id="prop-3",
    terms=TERMS,
    strategy="trend",
    reference_price=Decimal(4),
    sizing="by hand",
    signal_ids=["sig-AAPL-5"],
)
ORDER = Order(
    seq=1,
    ts_ns=2,
    order_id="ord-3",
    cause_id="prop-3",
    terms=TERMS,
    risk_epoch=4,
    checks=[CheckResult("cash", "5", "6")],
    replaces="ord-1",
)
INTENT = OrderIntent(
    seq=1,
    ts_ns=2,
    intent_id="int-3",
    kind=SUBMIT,
    order_id="ord-3",
    client_order_id="ord-3.2",
    terms=TERMS,
    extended_hours=True,
    emulated="the gateway triggers the stop",
    risk_epoch=4,
)
RECORDS = [PROPOSAL, ORDER, INTENT]
NOT_IN_AN_INTENT = {"expires_ns", "reduce_only", "group_id", "parent_id"}


@pytest.mark.parametrize("record_type", list(SCHEMA_IDS), ids=lambda t: t.__name__)
def test_the_flat_fields_are_those_of_the_schema_in_its_order(record_type: Any) -> None:
    schema_names = [field["name"] for field in json.loads(schema_json(record_type))["fields"]]
    assert list(field_names(record_type)) == list(field_types(record_type)) == schema_names


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_each_flat_field_holds_the_value_of_the_record_or_of_its_terms(record: Any) -> None:
    own_fields = record._asdict()
    fields = {**own_fields.pop("terms")._asdict(), **own_fields}
    flat = to_flat_dict(record)
    assert flat == {name: fields[name] for name in flat}
    assert fields.keys() - flat.keys() == (NOT_IN_AN_INTENT if type(record) is OrderIntent else set())
    assert to_flat(record) == tuple(flat.values())


@pytest.mark.parametrize("record", [PROPOSAL, ORDER], ids=lambda r: type(r).__name__)
def test_a_flat_record_can_be_restored(record: Any) -> None:
    assert from_flat(type(record), iter(to_flat(record))) == record
    assert decode(encode(record)) == record


def test_terms_that_an_intent_does_not_store_have_their_defaults_when_it_is_read() -> None:
    stored = INTENT._replace(terms=TERMS._replace(expires_ns=None, reduce_only=False, group_id="", parent_id=""))
    assert from_flat(OrderIntent, to_flat(INTENT)) == stored
    assert decode(encode(INTENT)) == stored


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_a_wrong_number_of_values_is_rejected(record: Any) -> None:
    values = to_flat(record)
    for wrong in (values[:-1], (*values, None)):
        with pytest.raises(TypeError, match=f"{type(record).__name__} has {len(values)} flat fields"):
            from_flat(type(record), wrong)


def test_a_record_without_terms_is_its_own_flat_row() -> None:
    minute_bar = bar("AAPL", 1, 60)
    assert to_flat(minute_bar) is minute_bar
    assert from_flat(type(minute_bar), minute_bar) == minute_bar
    assert {type(record) for record in RECORDS} == RECORDS_WITH_TERMS
