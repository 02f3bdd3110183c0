"""Records as flat rows, which is the layout of Avro schemas, tables, JSON, snapshots and hashes.

In Python an order's terms are one value, `record.terms`. Everywhere else their fields stand among the record's own
fields, in the order of the record's Avro schema. A record without terms is its own flat row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, NamedTuple, get_type_hints

from schemas.records.trading import Order, OrderIntent, OrderProposal, OrderTerms

_FIRST_TERMS = ("symbol", "side", "quantity", "order_type", "limit_price", "time_in_force")
_LATER_TERMS = ("stop_price", "trail_amount", "trail_percent", "expires_ns", "reduce_only", "group_id", "parent_id")
_PROPOSAL_NAMES = (
    *("seq", "ts_ns", "proposal_id", *_FIRST_TERMS),
    *("strategy", "reference_price", "sizing", "signal_ids", *_LATER_TERMS, "changes"),
)
_ORDER_NAMES = (
    *("seq", "ts_ns", "order_id", "cause_id", *_FIRST_TERMS),
    *("risk_epoch", "checks", *_LATER_TERMS, "replaces"),
)
# An intent has only the terms that the gateway sends. The others get their defaults when it is read.
_INTENT_NAMES = (
    *("seq", "ts_ns", "intent_id", "kind", "order_id", "client_order_id", "symbol", "side", "quantity", "order_type"),
    *("limit_price", "stop_price", "trail_amount", "trail_percent", "time_in_force"),
    *("extended_hours", "emulated", "risk_epoch"),
    *("stop_client_order_id", "stop_loss_price", "stop_loss_limit_price"),
)


class _Layout(NamedTuple):
    names: tuple[str, ...]  # of the flat fields
    to_flat: Callable[[tuple[Any, ...]], tuple[Any, ...]]  # from the record's fields followed by those of its terms
    missing_terms: tuple[Any, ...]  # defaults of the terms that the layout lacks
    to_terms: Callable[[tuple[Any, ...]], tuple[Any, ...]]  # from the flat fields followed by `missing_terms`
    to_record: Callable[[tuple[Any, ...]], tuple[Any, ...]]  # from the same followed by the terms


def _layout(record_type: Any, names: tuple[str, ...]) -> _Layout:
    nested_names = (*record_type._fields, *OrderTerms._fields)
    missing_names = tuple(name for name in OrderTerms._fields if name not in names)
    flat_names = (*names, *missing_names, "terms")
    return _Layout(
        names=names,
        to_flat=itemgetter(*map(nested_names.index, names)),
        missing_terms=tuple(OrderTerms._field_defaults[name] for name in missing_names),
        to_terms=itemgetter(*map(flat_names.index, OrderTerms._fields)),
        to_record=itemgetter(*map(flat_names.index, record_type._fields)),
    )


_LAYOUTS: dict[type, _Layout] = {
    OrderProposal: _layout(OrderProposal, _PROPOSAL_NAMES),
    Order: _layout(Order, _ORDER_NAMES),
    OrderIntent: _layout(OrderIntent, _INTENT_NAMES),
}
RECORDS_WITH_TERMS: frozenset[type] = frozenset(_LAYOUTS)


def field_names(record_type: Any) -> tuple[str, ...]:
    """Return the names of a record type's flat fields, in the order of its Avro schema.

    >>> field_names(Order)[3:6]
    ('cause_id', 'symbol', 'side')
    """
    layout = _LAYOUTS.get(record_type)
    names: tuple[str, ...] = record_type._fields if layout is None else layout.names
    return names


def field_types(record_type: Any) -> dict[str, Any]:
    """Return the annotated types of a record type's flat fields by name, in the order of `field_names`."""
    types = get_type_hints(record_type)
    if record_type in _LAYOUTS:
        types |= get_type_hints(OrderTerms)
    return {name: types[name] for name in field_names(record_type)}


def to_flat(record: Any) -> tuple[Any, ...]:
    """Return the values of a record's flat fields. A record without terms is returned itself."""
    layout = _LAYOUTS.get(type(record))
    flat: tuple[Any, ...] = record if layout is None else layout.to_flat(record + record.terms)
    return flat


def to_flat_dict(record: Any) -> dict[str, Any]:
    """Return a record's flat fields by name."""
    return dict(zip(field_names(type(record)), to_flat(record), strict=True))


def from_flat(record_type: Any, values: Iterable[Any]) -> Any:
    """Return the record with these values of its flat fields. Raises TypeError if their number is wrong."""
    layout = _LAYOUTS.get(record_type)
    if layout is None:
        return record_type._make(values)
    flat = tuple(values)
    if len(flat) != len(layout.names):
        raise TypeError(f"{record_type.__name__} has {len(layout.names)} flat fields, found {len(flat)} values")
    flat += layout.missing_terms
    return record_type._make(layout.to_record((*flat, OrderTerms._make(layout.to_terms(flat)))))


def from_stored(record_type: Any, values: Iterable[Any]) -> Any:
    """Return the record with these values of a snapshot, which can be of an earlier release.

    Such a row can lack the last fields of a record, which then have their defaults. Raises TypeError like `from_flat`.
    """
    flat = tuple(values)
    missing = field_names(record_type)[len(flat) :]
    defaults = record_type._field_defaults
    return from_flat(record_type, (*flat, *(defaults[name] for name in missing if name in defaults)))
