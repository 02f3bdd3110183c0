"""Schemas, records, codec and examples agree with each other and with the released schemas."""

from __future__ import annotations

import json
import typing
from base64 import b64decode
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.settings import load_settings
from schemas import records
from schemas.codec import NESTED_RECORDS, SCHEMA_IDS, Codec, decode, encode, file_name, load_older_schemas, schema_json
from schemas.errors import Undecodable
from schemas.records import BY_SYMBOL, TOPIC_OF, Bar, CheckResult, Clock
from schemas.records.flat import field_names, field_types, to_flat_dict
from schemas.records.prose import comparable
from tests.builders import strategy_action

SCHEMAS = Path(records.__file__).parent.parent
TYPES: list[Any] = list(SCHEMA_IDS)


def example(record_type: type) -> tuple[dict[str, Any], bytes]:
    file = SCHEMAS / "examples" / file_name(record_type).replace(".avsc", ".json")
    content = json.loads(file.read_text())
    return content["record"], b64decode(content["message_base64"])


def as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, bytes):
        return value
    if isinstance(value, list):
        return [item._asdict() if isinstance(item, CheckResult) else item for item in value]
    return value


@pytest.mark.parametrize("record_type", TYPES, ids=lambda t: t.__name__)
def test_the_example_message_decodes_to_the_example_record_and_back(record_type: Any) -> None:
    example_fields, message = example(record_type)
    record: Any = decode(message)
    assert type(record) is record_type
    assert encode(record) == message
    for field, value in to_flat_dict(record).items():
        if isinstance(value, bytes):
            assert value == b64decode(example_fields[field])
        elif isinstance(value, Decimal):
            assert value == Decimal(example_fields[field])
        else:
            assert as_json(value) == example_fields[field]


@pytest.mark.parametrize("record_type", TYPES, ids=lambda t: t.__name__)
def test_fields_of_record_and_schema_are_the_same_in_the_same_order(record_type: Any) -> None:
    schema = json.loads(schema_json(record_type))
    assert schema["name"] == record_type.__name__
    assert [field["name"] for field in schema["fields"]] == list(field_names(record_type))
    for field, hint in zip(schema["fields"], field_types(record_type).values(), strict=True):
        is_money = "decimal" in json.dumps(field["type"])
        assert is_money == (Decimal in (hint, *typing.get_args(hint))), field["name"]


@pytest.mark.parametrize("file", sorted((SCHEMAS / "released").glob("*.avsc")), ids=lambda f: f.stem)
def test_messages_of_the_last_release_can_be_read(file: Path) -> None:
    """The current schema reads bytes of the released schema, as the FULL compatibility of a registry requires."""
    record_type = next(t for t in TYPES if file_name(t) == file.name)
    released = file.read_text()
    _, message = example(record_type)
    old = json.loads(released)
    row = fastavro.schemaless_reader(BytesIO(message[5:]), json.loads(schema_json(record_type)), None)
    assert isinstance(row, dict)
    released_fields = {field["name"] for field in old["fields"]}
    buffer = BytesIO()
    fastavro.schemaless_writer(
        buffer, fastavro.parse_schema(old), {k: v for k, v in row.items() if k in released_fields}
    )
    reader = Codec(ids={record_type: SCHEMA_IDS[record_type]}, older_schemas={999: (record_type, released)})
    framed = b"\0" + (999).to_bytes(4, "big") + buffer.getvalue()
    assert to_flat_dict(reader.decode(framed)).items() >= {
        (k, v)
        for k, v in to_flat_dict(decode(message)).items()
        if k in released_fields and not isinstance(v, list | dict)
    }


@pytest.mark.parametrize("number", load_older_schemas(), ids=str)
def test_messages_of_earlier_schema_ids_can_be_read(number: int) -> None:
    """A record type with a new field has a new schema id. The logs still contain bytes of the old id."""
    record_type, schema = load_older_schemas()[number]
    assert number not in SCHEMA_IDS.values()
    _, message = example(record_type)
    new = to_flat_dict(decode(message))
    old = fastavro.parse_schema(json.loads(schema))
    names = [field["name"] for field in json.loads(schema)["fields"]]
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, old, {name: new[name] for name in names})
    decoded = decode(b"\0" + number.to_bytes(4, "big") + buffer.getvalue())
    assert type(decoded) is record_type
    fields = to_flat_dict(decoded)
    assert [fields[name] for name in names] == [new[name] for name in names]


@pytest.mark.parametrize("file", sorted((SCHEMAS / "released").glob("*.avsc")), ids=lambda f: f.stem)
def test_a_released_schema_keeps_its_id_and_a_changed_one_gets_another(file: Path) -> None:
    """The comparison uses types and names but no documentation, as a schema registry does."""
    released = fastavro.schema.to_parsing_canonical_form(json.loads(file.read_text()))
    record_type = next(t for t in TYPES if file_name(t) == file.name)
    current = fastavro.schema.to_parsing_canonical_form(json.loads(schema_json(record_type)))
    earlier = [
        fastavro.schema.to_parsing_canonical_form(json.loads(s))
        for t, s in load_older_schemas().values()
        if t is record_type
    ]
    assert released == current or released in earlier


def test_every_schema_file_has_a_record_type_and_every_id_is_its_own() -> None:
    files = {file.name for file in (SCHEMAS / "avsc").glob("*.avsc")}
    assert files == {file_name(t) for t in TYPES}
    assert files >= {file.name for file in (SCHEMAS / "released").glob("*.avsc")}, "a released schema is gone"
    assert len(set(SCHEMA_IDS.values())) == len(SCHEMA_IDS)
    assert {t.__name__ for t in NESTED_RECORDS} == {
        t.__name__ for t in TYPES if '"items":{"type":"record"' in schema_json(t)
    }


def test_every_topic_declares_the_records_that_go_there() -> None:
    kafka = load_settings(environment={}).kafka
    for name, topic in kafka.topics.items():
        kinds = {t.__name__ for t, topic_name in TOPIC_OF.items() if topic_name == name}
        assert kinds | ({"Clock"} if topic.owner else set()) == set(topic.schemas), name
        by_symbol = {t for t, topic_name in TOPIC_OF.items() if topic_name == name} <= BY_SYMBOL
        assert (topic.partitions == "symbols") == by_symbol, name
    assert set(TOPIC_OF.values()) == set(kafka.topics)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected a zero byte and a 4-byte schema id, found no value"),
        (b"{}", "expected a zero byte and a 4-byte schema id, found 2 bytes starting 7b 7d"),
        (b"\0\0\0\x03\xe7abc", "unknown schema id 999, expected one of [1, 2, 3"),
        (encode(Clock(1, "w"))[:-1], "schema id 1: "),
        (encode(Clock(1, "w")) + b"z", "schema id 1: 1 bytes left after the record"),
    ],
)
def test_malformed_bytes_are_rejected_with_the_reason(value: bytes | None, message: str) -> None:
    with pytest.raises(Undecodable) as error:
        decode(value)
    assert str(error.value).startswith(message)


@given(data=st.binary(max_size=80), record_type=st.sampled_from(TYPES))
def test_any_bytes_decode_or_raise_undecodable(data: bytes, record_type: type) -> None:
    framed = b"\0" + SCHEMA_IDS[record_type].to_bytes(4, "big") + data
    try:
        record = decode(framed)
    except Undecodable:
        return
    assert type(record) is record_type


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Bar, *[st.text(max_size=8), *[st.integers(0, 2**62)] * 3, *[finite] * 5, st.text(), st.just(0), st.booleans()]
    )
)
def test_a_bar_survives_the_wire_bit_for_bit(bar: Bar) -> None:
    assert decode(encode(bar)) == bar


def test_the_failing_line_of_a_suspension_is_prose_and_the_arguments_of_an_order_are_decisions() -> None:
    """A replay on another host raises from another path, and is the same run."""
    suspended = strategy_action("SUSPENDED", "", error_type="ZeroDivisionError", file="/srv/pairs.py", line=7)
    replayed = strategy_action("SUSPENDED", "", error_type="ZeroDivisionError", file="/home/quant/pairs.py", line=7)
    assert comparable(suspended) == comparable(replayed)
    assert comparable(strategy_action("SUBMIT_ORDER", quantity=1)) != comparable(
        strategy_action("SUBMIT_ORDER", quantity=2)
    )
