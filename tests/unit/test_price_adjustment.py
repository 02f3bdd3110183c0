"""Factors of splits and dividends: adjusted returns are those of a holder, and the raw bars stay."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dataflows.research import load_bars
from dataflows.research.price_adjustment import adjust_symbol, price_factors
from dataflows.sources.catalog.bar_catalog import SCHEMA, BarCatalog, CatalogOrigin, catalog_folder
from schemas.errors import BadInput, Unavailable
from tests.builders import corporate_action
from tests.unit.test_bar_catalog import bars, run

DAYS = ("2024-03-04", "2024-03-05", "2024-03-06", "2024-03-07", "2024-03-08")
CLOSES = (100.0, 104.0, 26.0, 25.0, 20.0)
ACTIONS = """kind,symbol,ex_date,ratio,amount
SPLIT,SPY,2024-03-06,4:1,
CASH_DIVIDEND,SPY,2024-03-08,,5
"""
"""A split on 6 March, and a dividend of 5 per new share on 8 March."""


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BarCatalog:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    catalog = BarCatalog(catalog_folder())
    opens = [pd.Timestamp(f"{day} 09:30", tz="America/New_York").as_unit("ns").value for day in DAYS]
    table = bars("SPY", opens)
    for name in ("open", "high", "low", "close"):
        table = table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), [CLOSES])
    catalog.add("1d", "SPY", table, CatalogOrigin("vendor", "XNYS", 5))
    return catalog


def test_adjusted_returns_are_those_of_a_holder_and_raw_bars_stay(catalog: BarCatalog, tmp_path: Path) -> None:
    (tmp_path / "actions.csv").write_text(ACTIONS)
    raw = catalog.months("1d", "SPY")
    adjusted = run("data", "adjust", "SPY", "--reference-data", tmp_path / "actions.csv")
    assert adjusted.exit_code == 0, adjusted.output
    assert "SPY: 2 factors" in adjusted.output and "price × 0.25" in adjusted.output
    assert catalog.months("1d", "SPY") == raw and list(load_bars("catalog:SPY")["close"]) == list(CLOSES)
    splits = load_bars("catalog:SPY", adjusted="splits")
    assert list(splits["close"]) == [25.0, 26.0, 26.0, 25.0, 20.0]
    assert list(splits["volume"]) == [400.0, 400.0, 100.0, 100.0, 100.0]
    everything = load_bars("catalog:SPY", adjusted="all")
    # A holder of one old share has 4 new shares on 6 March, and 4 × 5 in cash on 8 March.
    assert list(everything["close"].pct_change().dropna()) == pytest.approx([0.04, 0.0, -1 / 26, 0.0])
    assert list(everything["volume"]) == list(splits["volume"])
    assert everything.dtypes.equals(load_bars("catalog:SPY").dtypes)
    exported = run("data", "export", "SPY", "--adjusted", "all", "--output", tmp_path / "out.parquet")
    assert exported.exit_code == 0, exported.output
    pd.testing.assert_frame_equal(load_bars(tmp_path / "out.parquet", interval="1d"), everything, check_exact=True)


def test_a_dividend_on_the_day_of_a_split_refers_to_the_shares_at_its_place_in_the_log(catalog: BarCatalog) -> None:
    split = corporate_action("split", "SPLIT", "SPY", ex_date=20240306, ratio=4)
    dividend = corporate_action("dividend", "CASH_DIVIDEND", "SPY", ex_date=20240306, amount=2)
    before = adjust_symbol(catalog, "SPY", [dividend, split], 7).factors
    assert [one.price_factor for one in before] == pytest.approx([102 / 104, 1 / 4])
    after = adjust_symbol(catalog, "SPY", [split, dividend, split], 8).factors
    assert [one.price_factor for one in after] == pytest.approx([1 / 4, 24 / 26]), "an action counts once"
    assert price_factors(catalog, "SPY") == after


def test_actions_without_a_factor_are_named(catalog: BarCatalog) -> None:
    actions = [
        corporate_action("1", "CASH_DIVIDEND", "SPY", ex_date=20240301, amount=1),
        corporate_action("2", "CASH_DIVIDEND", "SPY", ex_date=20240306, amount=1, currency="EUR"),
        corporate_action("3", "CASH_DIVIDEND", "SPY", ex_date=20240308, amount=30),
        corporate_action("4", "SPIN_OFF", "SPY", ex_date=20240308, ratio=1, new_symbol="NEW", cost_share="0.5"),
        corporate_action("5", "SPLIT", "OTHER", ex_date=20240308, ratio=2),
    ]
    adjusted = adjust_symbol(catalog, "SPY", actions, 7)
    assert adjusted.factors == []
    assert adjusted.left_out == [
        "CASH_DIVIDEND of 2024-03-01 is before the first bar",
        "CASH_DIVIDEND of 2024-03-06 is in EUR, and the prices are in USD",
        "CASH_DIVIDEND of 2024-03-08 of 30 is not below the close before it, 25",
        "SPIN_OFF of 2024-03-08 has no factor",
    ]


def test_an_error_is_one_sentence(catalog: BarCatalog, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"^there are no factors of SPY; compute them with `python cli\.py data adjust SPY`$"
    ):
        load_bars("catalog:SPY", adjusted="all")
    with pytest.raises(
        BadInput, match=r"^adjusted applies to bars of the catalogue, such as catalog:SPY, found bars\.csv"
    ):
        load_bars("bars.csv", adjusted="all")
    adjust_symbol(catalog, "SPY", [], 7)
    with pytest.raises(BadInput, match=r"^adjusted must be splits or all, found 'split'; did you mean splits\?$"):
        load_bars("catalog:SPY", adjusted="split")
    path = catalog.folder / "factors" / "SPY.json"
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(Unavailable, match=r"SPY\.json"):
        load_bars("catalog:SPY", adjusted="all")
