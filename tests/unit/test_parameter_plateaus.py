"""Each trial of a sweep has its neighbourhood on the grid, and a lonely peak is reported as one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dataflows.research import backtest, sweep
from dataflows.research.html_report.charts import LABELS_MAX
from dataflows.research.html_report.plateau_section import MAPS_MAX, plateau_section
from dataflows.research.overfitting.parameter_plateaus import Plateau, PlateauTable, plateau_table
from dataflows.research.trial_ledger import TrialLedger
from dataflows.research.trial_notes import trial_notes
from deploy.commands import runs as runs_command
from deploy.commands import sweep as sweep_command
from schemas.errors import BadInput
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE

GRID: dict[str, list[Any]] = {"fast": [5, 8, 10], "slow": [20, 30]}


def table_of(values: Mapping[Any, float | None], *, grid: dict[str, Any] | None = None) -> PlateauTable:
    """Return the plateaus of trials by parameters (a, b, ...); the chosen one is the best."""
    names = "abcd"[: len(next(iter(values)))]
    rows = [dict(zip(names, one, strict=True)) | {"objective": value} for one, value in values.items()]
    best = max((one for one in values if values[one] is not None), key=lambda one: values[one] or 0.0)
    return plateau_table(pd.DataFrame(rows), tuple(names), "objective", dict(zip(names, best, strict=True)), grid=grid)


def plateau_of(values: Mapping[Any, float | None]) -> Plateau:
    plateau = table_of(values).plateau
    assert plateau is not None
    return plateau


def test_a_peak_between_poor_trials_is_lonely() -> None:
    found = plateau_of({(x, y): 2.0 if (x, y) == (1, 1) else 0.1 * x for x, y in product(range(5), range(5))})
    assert found.neighbours == 8
    assert found.is_lonely_peak
    assert "Warning: the best trial is a lonely peak" in found.sentences()[1]


@pytest.mark.parametrize(
    "values",
    [
        {(x, y): -abs(x - 2.0) - abs(y - 2.0) for x, y in product(range(6), range(6))},
        {(x,): float(x) for x in range(5)},
        {(x, y): x + 2.0 * y for x, y in product(range(2), range(2))},
        {(x,): 1.0 for x in range(5)},
    ],
    ids=["hill", "slope", "all are neighbours", "flat"],
)
def test_a_hill_is_no_lonely_peak(values: Mapping[Any, float | None]) -> None:
    assert not plateau_of(values).is_lonely_peak


def test_only_adjacent_values_of_the_grid_are_neighbours() -> None:
    """A random sample leaves values of the grid out: 1 and 5 are not adjacent, although nothing between them ran."""
    values = {(1,): 1.0, (5,): 2.0, (6,): 3.0}
    found = table_of(values, grid={"a": range(1, 7)}).trials
    assert found["neighbours"].tolist() == [0, 1, 1]
    with pytest.raises(BadInput, match="the grid of a does not have the value 1"):
        table_of(values, grid={"a": (5, 6)})


def test_texts_have_no_order() -> None:
    values = dict.fromkeys(product(("close", "open"), (1, 2, 3)), 1.0)
    assert table_of(values).trials["neighbours"].tolist() == [1, 2, 1, 1, 2, 1]


def test_a_trial_without_the_objective_is_no_neighbour() -> None:
    found = table_of({(1,): 1.0, (2,): None, (3,): 2.0, (4,): 1.5})
    assert found.trials["neighbours"].tolist() == [0, 1, 1]
    assert found.plateau is not None and found.plateau.neighbourhood_mean == 1.75


def test_a_trial_without_neighbours_is_not_judged() -> None:
    found = table_of({(1,): 1.0, (3,): 2.0}, grid={"a": (1, 2, 3)}).plateau
    assert found is not None and not found.is_lonely_peak
    assert "No neighbour of the best trial on the grid has run" in found.sentences()[0]


def test_one_parameter_set_has_no_section() -> None:
    found = table_of({(1, 2): 1.0})
    assert found.plateau is None
    assert plateau_section(found) == ""


def test_a_heat_map_has_one_cell_per_trial_and_marks_the_best() -> None:
    values = {(x, y): float(x + y) for x, y in product(range(25), range(3)) if (x, y) != (4, 1)}
    page = plateau_section(table_of(values))
    assert page.count('class="cell"') + page.count('class="cell chosen"') == len(values)
    assert page.count("cell chosen") == 1
    assert "<title>a=24, b=2: 26</title>" in page
    assert len(re.findall(r'class="x[^"]*"', page)) <= LABELS_MAX
    assert not re.search(r"nan|inf", page)
    assert "best 30 of 74 trials" in page


def test_other_parameters_have_the_values_of_the_best_trial() -> None:
    page = plateau_section(table_of({one: float(sum(one)) for one in product(*[range(3)] * 4)}))
    assert page.count("<figure") == MAPS_MAX
    assert "a and b, with c=2, d=2" in page
    assert page.count('class="cell') == MAPS_MAX * 9
    assert "3 other pairs of parameters are not drawn" in page


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B"), minutes=120)
    return folder


def test_a_sweep_its_report_and_a_run_show_the_neighbours(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    swept = sweep("ema_cross", files, grid=GRID, objective="total_return", settings=SETTINGS_FILE, processes=1)
    assert swept.trials["neighbours"].tolist() == [5 if fast == 8 else 3 for fast in swept.trials["fast"]]
    by_set: dict[tuple[int, int], Any] = {(row["fast"], row["slow"]): row for _, row in swept.trials.iterrows()}
    near = [float(by_set[fast, slow]["objective"]) for fast in (5, 8) for slow in (20, 30)]
    assert by_set[5, 20]["neighbourhood_mean"] == pytest.approx(sum(near) / 4)
    assert by_set[5, 20]["neighbourhood_min"] == min(near)
    page = swept.report(tmp_path / "sweep.html")
    assert (tmp_path / "sweep.html").read_text() == page
    assert page.count('class="cell') == 6

    run = backtest("ema_cross", files, settings=SETTINGS_FILE, parameters={"fast": 5, "slow": 20}, name="one")
    (note,) = trial_notes(run, TrialLedger(tmp_path / "trials.sqlite"))
    assert note.plateaus is not None and note.plateaus.plateau is not None
    assert note.plateaus.plateau.neighbourhood_mean == pytest.approx(sum(near) / 4)
    assert run.report(trials=[note]).count('class="cell') == 6
    app = typer.Typer()
    runs_command.register(app)
    sweep_command.register(app)
    shown = CliRunner().invoke(app, ["runs", "show", "one"])
    assert "This run and its 3 neighbours on the grid have a mean of" in shown.stdout, shown.output

    grid = [one for name, values in GRID.items() for one in ("--grid", f"{name}={','.join(map(str, values))}")]
    options = ["--bars", str(files), "--settings", str(SETTINGS_FILE), "--objective", "total_return", "--html", "-"]
    written = CliRunner().invoke(app, ["sweep", "--strategy", "ema_cross", *options, *grid, "--processes", "1"])
    assert written.stdout == page, written.output
