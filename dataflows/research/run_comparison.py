"""Compare runs: their metrics, the settings that differ, and the first decision that differs."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from dataflows.research.frames import EXECUTIONS, ORDERS
from dataflows.research.html_report.comparison_report import comparison_report
from dataflows.research.html_report.page import write_page
from dataflows.research.result import METRIC_UNITS, Result
from dataflows.research.stored_results import load_run
from dataflows.sources.row_times import iso
from schemas.errors import BadInput

_TERMS = ("time", "symbol", "side", "quantity", "type", "limit_price", "stop_price", "trail_amount", "trail_percent")
_DECISION_COLUMNS = {
    ORDERS: (*_TERMS, "time_in_force", "strategy"),
    EXECUTIONS: ("time", "symbol", "side", "type", "event", "quantity", "price", "fee", "leaves"),
}
_SHOWN = ("event", "side", "quantity", "symbol", "type", "price", "fee", "leaves", "limit_price", "stop_price")

_LABELLED = frozenset({"price", "fee", "leaves", "limit_price", "stop_price"})


@dataclass(frozen=True, eq=False, kw_only=True)
class ResultComparison:
    """A comparison of runs with the first one.

    metrics            one row per metric: its unit, its value in each run, and each difference from the first run
    parameters         one row per setting that differs, with its value in each run; "–" where it does not exist
    sources            what differs in data and code, one sentence each
    first_differences  for each further run, the first decision that differs from the first run; None: all are equal
    results            the results by name
    """

    metrics: pd.DataFrame
    parameters: pd.DataFrame
    sources: Sequence[str]
    first_differences: Mapping[str, str | None]
    results: Mapping[str, Result] = field(repr=False)

    def report(self, path: str | Path | None = None) -> str:
        """Return the comparison as one HTML page, and write it to a file if `path` is set. Raises BadInput."""
        page = comparison_report(self)
        if path is not None:
            write_page(page, path)
        return page

    def __str__(self) -> str:
        parts = [self.metrics.to_string(na_rep="–", float_format="{:.6g}".format)]
        parts.append("Settings that differ: " + ("none" if self.parameters.empty else ""))
        if not self.parameters.empty:
            parts.append(self.parameters.to_string())
        return "\n\n".join([*parts, "\n".join([*self.sources, *self._sentences()])])

    def _repr_html_(self) -> str:
        sentences = "".join(f"<li>{html.escape(text)}</li>" for text in [*self.sources, *self._sentences()])
        tables = self.metrics.to_html(na_rep="–", float_format="{:.6g}".format)
        if not self.parameters.empty:
            tables += self.parameters.to_html()
        return f"<div>{tables}<ul>{sentences}</ul></div>"

    def _sentences(self) -> list[str]:
        equal = "makes the same decisions as the first run"
        return [
            f"{name}: {equal if text is None else f'first decision that differs: {text}'}"
            for name, text in self.first_differences.items()
        ]


def compare(*runs: Result | str) -> ResultComparison:
    """Compare results, or runs of the store by name, with the first one.

    Raises BadInput for fewer than two runs, an unknown name, and two runs of one name.

        compare("ema_cross-20240102-093000", result)
    """
    if len(runs) < 2:
        raise BadInput(f"a comparison needs two or more runs, found {len(runs)}")
    results = [load_run(run) if isinstance(run, str) else run for run in runs]
    named = {result.name or f"run {number}": result for number, result in enumerate(results, 1)}
    if len(named) < len(results):
        names = ", ".join(result.name for result in results)
        raise BadInput(f"a comparison needs different runs, found {names}")
    first_name, first = next(iter(named.items()))
    return ResultComparison(
        metrics=_metric_table(named),
        parameters=_setting_table({name: dict(_flat(result.settings)) for name, result in named.items()}),
        sources=[text for name, one in named.items() for text in _source_differences(first_name, first, name, one)],
        first_differences={name: first_difference(first, one) for name, one in list(named.items())[1:]},
        results=named,
    )


def _metric_table(results: Mapping[str, Result]) -> pd.DataFrame:
    metrics = [name for name in METRIC_UNITS if any(name in result.summary for result in results.values())]
    values = {run: [result.summary.get(name) for name in metrics] for run, result in results.items()}
    table = pd.DataFrame(values, index=pd.Index(metrics, name="metric"), dtype=float)
    first, *others = list(results)
    for name in others:
        table[f"{name} – {first}"] = table[name] - table[first]
    table.insert(0, "unit", [METRIC_UNITS[name] for name in metrics])
    return table


def _setting_table(settings: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    keys = sorted({key for values in settings.values() for key in values})
    rows = {key: [_text(values, key) for values in settings.values()] for key in keys}
    differing = {key: row for key, row in rows.items() if len(set(row)) > 1}
    return pd.DataFrame(list(differing.values()), index=list(differing), columns=list(settings))


def _text(values: Mapping[str, Any], key: str) -> str:
    return str(values[key]) if key in values else "–"


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested settings by dotted name.

    >>> dict(_flat({"a": {"b": 1, "c": [{"d": 2}]}}))
    {'a.b': 1, 'a.c[0].d': 2}
    """
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list) and any(isinstance(value, Mapping) for value in tree):
        for number, value in enumerate(tree):
            yield from _flat(value, f"{path}[{number}]")
    else:
        yield path, tree


def _source_differences(first_name: str, first: Result, name: str, other: Result) -> Iterator[str]:
    if other.sources.data_sha256 != first.sources.data_sha256 or other.sources.data != first.sources.data:
        content = "content" if other.sources.data_sha256 != first.sources.data_sha256 else "path"
        yield f"{name}: the data differ from {first_name} in their {content}"
    if other.sources.code_sha256 != first.sources.code_sha256:
        yield f"{name}: the platform's code differs from {first_name}"
    if other.sources.source_sha256 != first.sources.source_sha256:
        yield f"{name}: the source of the strategies differs from {first_name}"


def first_difference(first: Result, other: Result) -> str | None:
    """Return the first order or execution that differs, in one sentence; None if all decisions are equal."""
    if first.decision_hash == other.decision_hash:
        return None
    return first_differing_decision(first.tables, other.tables)


def first_differing_decision(first: Mapping[str, pa.Table], other: Mapping[str, pa.Table]) -> str:
    """Return the first order or execution of two runs that differs, from their tables of both. Their hashes differ."""
    found = [one for name in _DECISION_COLUMNS if (one := _differing_row(name, first, other)) is not None]
    if not found:
        return "the orders and executions are equal; ids, cash or the positions before the run differ"
    return min(found, key=lambda one: one[0])[1]  # an order comes before its executions of the same time


def _differing_row(name: str, first: Mapping[str, pa.Table], other: Mapping[str, pa.Table]) -> tuple[int, str] | None:
    """Return the time and a description of the first row of a table that differs."""
    columns = list(_DECISION_COLUMNS[name])
    tables = [run[name].select(columns) for run in (first, other)]
    index = _first_unequal(*tables)
    if index is None:
        return None
    rows = [table.slice(index, 1).to_pylist()[0] if index < len(table) else None for table in tables]
    times = [table.column("time")[index].value for table in tables if index < len(table)]
    described = " instead of ".join(_describe(row) for row in reversed(rows))
    kind = "order" if name == ORDERS else "execution"
    return min(times), f"{iso(min(times))} {kind} {index + 1}: {described}"


def _first_unequal(one: pa.Table, other: pa.Table) -> int | None:
    """Return the number of the first row in which two tables differ; None if they are equal."""
    low, high = 0, min(len(one), len(other))
    if one.slice(0, high).equals(other.slice(0, high)):
        return None if len(one) == len(other) else high
    while high - low > 1:
        middle = (low + high) // 2
        if one.slice(low, middle - low).equals(other.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    return low


def _describe(row: Mapping[str, Any] | None) -> str:
    """Describe an order or execution.

    >>> _describe({"side": "BUY", "quantity": 10.0, "symbol": "A", "type": "LIMIT", "limit_price": 9.5, "price": None})
    'BUY 10 A LIMIT limit_price 9.5'
    """
    if row is None:
        return "nothing"
    parts = []
    for name in _SHOWN:
        value = row.get(name)
        if value is not None and value != "":
            text = f"{value:g}" if isinstance(value, float) else str(value)
            parts.append(f"{name} {text}" if name in _LABELLED else text)
    return " ".join(parts)
