"""The report of one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dataflows.research.html_report.number_formats import escaped, utc_text
from dataflows.research.html_report.page import ReportSection, html_page, paragraph, table, warning_box
from dataflows.research.html_report.performance_sections import (
    benchmark_of,
    distribution_section,
    drawdowns_section,
    equity_section,
    exposure_section,
    months_section,
    rolling_section,
    summary_section,
)
from dataflows.research.html_report.plateau_section import plateau_section
from dataflows.research.html_report.trade_sections import (
    attribution_section,
    costs_section,
    excursions_section,
    groups_section,
    prices_section,
    refusals_section,
    signals_section,
)
from dataflows.research.overfitting.parameter_plateaus import PlateauTable

if TYPE_CHECKING:
    from dataflows.research.result import Result

THIS_RUN = "this run"


class TrialNote(NamedTuple):
    """What the ledger of trials knows about a strategy on the data of a run.

    `deflated_sharpe` is the deflated Sharpe ratio of the best trial, a probability; None if it is not defined.
    `plateaus` are the trials that differ from the run in their parameters only; None if the run is not a trial.
    """

    strategy: str
    trials: int
    deflated_sharpe: float | None
    plateaus: PlateauTable | None = None

    def sentences(self) -> list[str]:
        """Return what a reader must know, one sentence each."""
        plateau = None if self.plateaus is None else self.plateaus.plateau
        return [trial_sentence(self), *([] if plateau is None else plateau.sentences(THIS_RUN))]


def run_report(result: Result, title: str, trials: Sequence[TrialNote] = ()) -> str:
    """Return the report of a run as one HTML page."""
    benchmark = benchmark_of(result)
    sections = [
        ReportSection("summary", "Summary", summary_section(result, benchmark)),
        ReportSection("equity", "Equity and drawdown", equity_section(result)),
        ReportSection("months", "Monthly returns", months_section(result)),
        ReportSection("drawdowns", "Worst drawdowns", drawdowns_section(result)),
        ReportSection("rolling", "Rolling figures", rolling_section(result, benchmark)),
        ReportSection("distribution", "Distribution of returns", distribution_section(result)),
        ReportSection("exposure", "Exposure and turnover", exposure_section(result)),
        ReportSection("attribution", "Where the profit comes from", attribution_section(result)),
        ReportSection("groups", "Results by group", groups_section(result)),
        ReportSection("excursions", "Excursions", excursions_section(result)),
        ReportSection("trades", "Trades", prices_section(result)),
        ReportSection("costs", "Costs", costs_section(result)),
        ReportSection("rejections", "Rejected orders", refusals_section(result)),
        ReportSection("signals", "Signal quality", signals_section(result)),
        ReportSection("plateaus", "Parameter plateaus", _plateaus_section(trials)),
        ReportSection("settings", "Settings", _settings_section(result)),
        ReportSection("sources", "Data and code", _sources_section(result)),
    ]
    return html_page(title, _introduction(result, trials), sections)


def _introduction(result: Result, trials: Sequence[TrialNote]) -> str:
    strategies = ", ".join(result.strategies) or "orders"
    equity = result.tables["equity"]
    period = ""
    if len(equity):
        times = equity.column("time")
        period = f", {utc_text(times[0].value)} to {utc_text(times[-1].value)} UTC"
    text = f"Strategies: {strategies}{period}, {result.summary.get('bars', 0):,} bars."
    notes = "".join(paragraph(trial_sentence(note)) for note in trials)
    return paragraph(text) + notes + warning_box(result.warnings)


def trial_sentence(note: TrialNote) -> str:
    """Return how many trials stand behind a result.

    >>> trial_sentence(TrialNote("ema_cross", 20, None))
    'The ledger has 20 trials of ema_cross on these data. Judge this result as the best of 20 trials.'
    """
    count = f"{note.trials} trial{'' if note.trials == 1 else 's'}"
    text = f"The ledger has {count} of {note.strategy} on these data. Judge this result as the best of {count}."
    if note.deflated_sharpe is None:
        return text
    chance = f"{100 * note.deflated_sharpe:.0f} %"
    return f"{text} The probability that the best of them is more than luck (deflated Sharpe ratio) is {chance}."


def _plateaus_section(trials: Sequence[TrialNote]) -> str:
    return "".join(
        paragraph(f"{note.plateaus.label} of the trials in the ledger that differ from this run in parameters only.")
        + plateau_section(note.plateaus, THIS_RUN)
        for note in trials
        if note.plateaus is not None and note.plateaus.plateau is not None
    )


def _settings_section(result: Result) -> str:
    strategies = result.settings.get("signals", {}).get("strategies", [])
    rows = [[str(one.get("name")), json.dumps(one.get("parameters") or {}, sort_keys=True)] for one in strategies]
    listed = table(["strategy", "parameters"], rows, wrapped=[1])
    text = escaped(json.dumps(result.settings, indent=2, sort_keys=True))
    return f"{listed}<details><summary>All settings</summary><pre>{text}</pre></details>"


def _sources_section(result: Result) -> str:
    sources = result.sources
    rows = [
        ["decision hash", result.decision_hash],
        ["data", ", ".join(sources.data)],
        ["SHA-256 of the data", sources.data_sha256 or "not hashed: recorded topics"],
        ["SHA-256 of the platform's code", sources.code_sha256],
        *([f"SHA-256 of {name}", sha256] for name, sha256 in sources.source_sha256.items()),
    ]
    return table(["", ""], rows, wrapped=[1])
