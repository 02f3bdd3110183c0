"""The catalogue of bars: import, reading in a backtest, damage, and processes that are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from dataflows.research import backtest, load_bars, sweep
from dataflows.research.catalog_import import import_files
from dataflows.sources.catalog.bar_catalog import SCHEMA, BarCatalog, CatalogOrigin, catalog_folder
from deploy.cli import app, register_all
from deploy.home import REPOSITORY
from operators.bar_completion import FeedSettings
from schemas.errors import BadInput, Unavailable
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE
from tests.unit.test_research_api import command_summary

MINUTE_NS = 60_000_000_000
START_NS = 1_704_205_800_000_000_000  # 2024-01-02T14:30Z
DAY_NS = 24 * 3600 * 10**9


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BarCatalog:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    return BarCatalog(catalog_folder())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_market(folder, symbols=("A", "B", "C"))
    return folder


def bars(symbol: str, opens: list[int], close: float = 10.0) -> pa.Table:
    rows = [(open_ns, symbol, 10.0, 12.0, 9.0, close, 100.0) for open_ns in opens]
    return pa.table([pa.array(v, f.type) for v, f in zip(zip(*rows, strict=True), SCHEMA, strict=True)], schema=SCHEMA)


def run(*arguments: object) -> Result:
    register_all()
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_bars_of_the_catalogue_give_the_decisions_of_their_files(catalog: BarCatalog, files: Path) -> None:
    imported = import_files(catalog, [files], FeedSettings())
    assert imported.symbols == ["A", "B", "C"] and imported.added.new == sum(one.rows for one in catalog.series())
    expected = backtest("ema_cross", files, settings=SETTINGS_FILE)
    found = backtest("ema_cross", "catalog:*", settings=SETTINGS_FILE)
    assert found.summary["fills"] > 50 and found.decision_hash == expected.decision_hash
    assert found.sources.data_sha256 != expected.sources.data_sha256
    summary = command_summary("--bars", "catalog:A,C", "--settings", SETTINGS_FILE, "--strategy", "ema_cross")
    two = backtest("ema_cross", [files / "A.csv", files / "C.csv"], settings=SETTINGS_FILE)
    assert summary["decision_hash"] == two.decision_hash
    pd.testing.assert_frame_equal(load_bars("catalog:B"), load_bars(files / "B.csv"), check_exact=True)


def test_a_sweep_reads_the_catalogue_and_takes_recorded_bars_as_a_frame(catalog: BarCatalog, files: Path) -> None:
    import_files(catalog, [files / "A.csv", files / "B.csv"], FeedSettings())
    inputs: dict[str, Any] = {"grid": {"fast": [5, 8]}, "objective": "total_return", "processes": 1}
    expected = sweep("ema_cross", [files / "A.csv", files / "B.csv"], **inputs).trials
    assert list(sweep("ema_cross", "catalog:A,B", **inputs).trials["decision_hash"]) == list(expected["decision_hash"])
    with pytest.raises(BadInput, match=r"^recorded bars are read once: pass load_bars\('topics:A'\) instead"):
        sweep("ema_cross", "topics:A", **inputs)


def test_an_import_twice_changes_nothing_and_a_correction_changes_one_month(catalog: BarCatalog) -> None:
    opens = [START_NS, START_NS + MINUTE_NS, START_NS + 40 * DAY_NS]
    origin = CatalogOrigin("vendor", "XNYS", 5)
    assert catalog.add("1m", "SPY", bars("SPY", opens), origin) == (3, 0, 0)
    before = catalog.months("1m", "SPY")
    assert [one.month for one in before] == ["2024-01", "2024-02"] and [one.rows for one in before] == [2, 1]
    assert catalog.add("1m", "SPY", bars("SPY", opens), origin._replace(as_of_ns=6)) == (0, 0, 3)
    assert catalog.months("1m", "SPY") == before
    corrected = CatalogOrigin("other vendor", "XNYS", 7)
    assert catalog.add("1m", "SPY", bars("SPY", opens[:1], 11.0), corrected) == (0, 1, 0)
    january, february = catalog.months("1m", "SPY")
    assert february == before[1] and january.file != before[0].file
    assert january.sources == ["vendor", "other vendor"] and january.as_of_ns == 7
    assert catalog.read("1m", "SPY")["close"].to_pylist() == [11.0, 10.0, 10.0]


def test_a_flipped_byte_is_one_sentence_and_the_month_can_be_replaced(catalog: BarCatalog) -> None:
    catalog.add("1m", "BTC/USD", bars("BTC/USD", [START_NS]), CatalogOrigin("vendor", "24/7", 5))
    [month] = catalog.months("1m", "BTC/USD")
    path = catalog.series_folder("1m", "BTC/USD") / month.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"^the catalogue file .* is damaged: .*`python cli.py data rm BTC/USD --int"):
        load_bars("catalog:BTC/USD", calendar="24/7")
    checked = run("data", "check")
    assert checked.exit_code == 1 and "is damaged: its SHA-256 starts with" in checked.output
    assert run("data", "rm", "BTC/USD", "--month", "2024-01").exit_code == 0
    catalog.add("1m", "BTC/USD", bars("BTC/USD", [START_NS]), CatalogOrigin("vendor", "24/7", 5))
    assert catalog.read("1m", "BTC/USD").num_rows == 1


def test_a_changed_manifest_is_found(catalog: BarCatalog) -> None:
    catalog.add("1m", "SPY", bars("SPY", [START_NS]), CatalogOrigin("vendor", "XNYS", 5))
    path = catalog.series_folder("1m", "SPY") / "manifest.json"
    path.write_text(path.read_text().replace('"rows": 1', '"rows": 2'))
    with pytest.raises(Unavailable, match=r"manifest\.json is damaged"):
        load_bars("catalog:SPY")


@pytest.mark.parametrize(
    ("bars_argument", "interval", "message"),
    [
        ("catalog:SPYY", "1m", r"^the catalogue has no bars of 1m of symbol 'SPYY'; did you mean SPY\?$"),
        ("catalog:SPY", None, r"^the catalogue has bars of 1d and 1m of these symbols; choose one with --interval$"),
        ("catalog:SPY", "5m", r"^the catalogue .* has no bars of 5m; add some with"),
        (["catalog:SPY", "nothing.csv"], "1m", r"^file nothing\.csv does not exist$"),
    ],
)
def test_an_unknown_symbol_or_interval_is_one_sentence(
    catalog: BarCatalog, bars_argument: str | list[str], interval: str | None, message: str
) -> None:
    origin = CatalogOrigin("vendor", "XNYS", 5)
    catalog.add("1m", "SPY", bars("SPY", [START_NS + n * MINUTE_NS for n in range(5)]), origin)
    catalog.add("1d", "SPY", bars("SPY", [START_NS, START_NS + DAY_NS]), origin)
    with pytest.raises(BadInput, match=message):
        load_bars(bars_argument, interval=interval)
    assert len(load_bars("catalog:SPY", interval="1m")) == 5
    assert len(load_bars("catalog:SPY", interval="1d")) == 2, (
        "two rows do not prove an interval; the catalogue knows it"
    )


def test_the_commands_import_list_export_and_check(catalog: BarCatalog, files: Path, tmp_path: Path) -> None:
    imported = run("data", "import", files, "--source", "vendor")
    assert imported.exit_code == 0 and "3 symbols, bars of 1m: 2,966 new, 0 changed, 0 known" in imported.output
    assert "0 new, 0 changed, 2,966 known" in run("data", "import", files, "--source", "vendor").output
    [first, *_] = json.loads(run("data", "list", "--json").output)["series"]
    assert (first["symbol"], first["interval"], first["sources"]) == ("A", "1m", ["vendor"])
    assert "vendor" in run("data", "list").output
    for name in ("out.csv", "out.parquet"):
        exported = run("data", "export", "*", "--output", tmp_path / name)
        assert exported.output == f"2,966 bars of 3 symbols written to {tmp_path / name}\n"
        pd.testing.assert_frame_equal(load_bars(tmp_path / name), load_bars("catalog:*"), check_exact=True)
    checked = json.loads(run("data", "check", "--json", "-").output)
    assert [one["file"] for one in checked] == ["catalog:A", "catalog:B", "catalog:C"]


def test_rows_of_another_zone_are_not_imported(catalog: BarCatalog, tmp_path: Path) -> None:
    times = pd.date_range("2024-03-07 09:30", periods=390, freq="min").append(
        pd.date_range("2024-03-08 09:30", periods=390, freq="min")
    )
    frame = pd.DataFrame({"time": times, "open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0, "volume": 1})
    frame.to_csv(tmp_path / "SPY.csv", index=False)
    with pytest.raises(BadInput, match=r"^nothing was imported: .*New_York"):
        import_files(catalog, [tmp_path / "SPY.csv"], FeedSettings())
    assert catalog.series() == []


def test_a_universe_is_all_its_members_also_former_ones(catalog: BarCatalog, tmp_path: Path) -> None:
    origin = CatalogOrigin("vendor", "XNYS", 5)
    for symbol in ("AAPL", "SPY", "LEH"):
        catalog.add("1d", symbol, bars(symbol, [START_NS]), origin)
    (tmp_path / "members.csv").write_text("symbol,from,to\nLEH,,2008-09-16\nAAPL,1982-11-30,\n")
    assert run("data", "universe", "index", tmp_path / "members.csv").output == "index: 2 symbols\n"
    assert set(load_bars("catalog:@index")["symbol"]) == {"AAPL", "LEH"}
    assert set(load_bars("catalog:@index,SPY")["symbol"]) == {"AAPL", "LEH", "SPY"}
    assert run("data", "universe", "index", "--on", "2024-03-07").output.split() == ["AAPL", "1982-11-30", "–"]
    catalog.remove("1d", "LEH", ["2024-01"])
    with pytest.raises(
        BadInput, match=r"^the catalogue has no bars of 1 of the 2 members of universe index, the first"
    ):
        load_bars("catalog:@index")
    with pytest.raises(BadInput, match=r"^the catalogue has no universe 'idx'; did you mean index\?$"):
        load_bars("catalog:@idx")


KILLED = """
import sys
from pathlib import Path
from dataflows.research import catalog_import
from dataflows.sources.catalog.bar_catalog import BarCatalog, catalog_folder
from operators.bar_completion import FeedSettings
def report(month):
    print(month, flush=True)
    sys.stdin.readline()
catalog_import.import_files(BarCatalog(catalog_folder()), [Path(sys.argv[1])], FeedSettings(), on_month=report)
"""


def test_a_killed_import_loses_and_repeats_nothing(catalog: BarCatalog, tmp_path: Path) -> None:
    days = pd.bdate_range("2024-01-02", "2024-04-12")
    days = days[~days.isin([pd.Timestamp("2024-01-15"), pd.Timestamp("2024-02-19"), pd.Timestamp("2024-03-29")])]
    frame = pd.DataFrame({"time": days, "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5})
    file = tmp_path / "SPY.csv"
    frame.to_csv(file, index=False)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, file], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "2024-01\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "2024-02\n"
        process.kill()
    january, february = catalog.months("1d", "SPY")
    imported = import_files(catalog, [file], FeedSettings())
    assert imported.added == (len(days) - january.rows - february.rows, 0, january.rows + february.rows)
    assert catalog.months("1d", "SPY")[:2] == [january, february]
    assert list(load_bars("catalog:SPY")["close"]) == [11.0] * len(days)


def test_leftovers_of_killed_writers_are_removed_after_a_day(catalog: BarCatalog) -> None:
    origin = CatalogOrigin("vendor", "XNYS", 5)
    catalog.add("1m", "SPY", bars("SPY", [START_NS]), origin)
    [month] = catalog.months("1m", "SPY")
    folder = catalog.series_folder("1m", "SPY")
    for name, age_s in (("2024-01-old.parquet", 90_000), ("2024-01-new.parquet", 10)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age_s, time.time() - age_s))
    catalog.add("1m", "SPY", bars("SPY", [START_NS]), origin)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [month.file, "2024-01-new.parquet", "manifest.json"]
    )
