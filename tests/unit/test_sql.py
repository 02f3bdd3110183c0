"""SQL over the catalogue and the archive, and the errors of `sql`. The integration tests have topics and PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from dataflows.research import sql
from dataflows.research.price_adjustment import adjust_symbol
from dataflows.sources.catalog.bar_catalog import BarCatalog, CatalogOrigin, catalog_folder
from deploy.cli import app, register_all
from schemas.errors import BadInput, Unavailable
from schemas.records.flat import to_flat
from sinks.archive.table_archive import TableArchive
from tests.builders import bar, corporate_action
from tests.unit.test_bar_catalog import MINUTE_NS, START_NS, bars


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BarCatalog:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    catalog, origin = BarCatalog(catalog_folder()), CatalogOrigin("it's a vendor", "XNYS", 5)
    catalog.add("1m", "SPY", bars("SPY", [START_NS + number * MINUTE_NS for number in range(3)]), origin)
    catalog.add("1d", "BTC/USD", bars("BTC/USD", [START_NS], 11.0), origin)
    return catalog


def run(*arguments: str) -> Result:
    register_all()
    return CliRunner().invoke(app, ["sql", *arguments])


def test_the_catalogue_and_the_archive_are_tables_of_one_name_space(catalog: BarCatalog, tmp_path: Path) -> None:
    adjust_symbol(catalog, "SPY", [corporate_action("1", "SPLIT", "SPY", ex_date=20240103, ratio=4)], 7)
    archived = [bar("SPY", number, START_NS + number * MINUTE_NS, 20.0 + number) for number in (1, 2, 3)]
    TableArchive(tmp_path / "archive").write(
        "bars", "bars/bars_2024_01.parquet", map(to_flat, archived), end_ns=START_NS + MINUTE_NS * 9, archived_ns=9
    )
    query = """
        SELECT c.time, c.close, a.close AS archived, f.price_factor
        FROM catalog.bars c
        JOIN archive.bars a ON a.symbol = c.symbol AND a.open_time = c.time
        JOIN catalog.factors f ON f.symbol = c.symbol
        WHERE c.bar_interval = '1m' AND c.symbol = 'SPY' -- not postgres.bars
        ORDER BY c.time
    """
    frame = sql(query)
    assert list(frame["archived"]) == [21.0, 22.0, 23.0] and set(frame["price_factor"]) == {0.25}
    assert frame["time"].iloc[0] == pd.Timestamp("2024-01-02T14:30Z") and set(frame["close"]) == {10.0}
    assert sql("SELECT max(close) AS c FROM archive.bars", rows_max=2)["c"].iloc[0] == 23.0
    assert len(sql("SELECT * FROM archive.bars", rows_max=2)) == 2
    assert list(sql("SELECT DISTINCT symbol FROM Catalog.BARS ORDER BY 1")["symbol"]) == ["BTC/USD", "SPY"]
    assert sql("SELECT 'topics.orders' AS text")["text"].iloc[0] == "topics.orders"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM catalog.bar", "unknown table catalog.bar; did you mean bars?"),
        ("SELECT * FROM topics.featurs", "unknown table topics.featurs; did you mean features?"),
        ("SELECT 1; SELECT 2", "sql runs one SELECT at a time, and changes nothing"),
        ("COPY (SELECT 1) TO 'out.csv'", "sql runs one SELECT at a time, and changes nothing"),
        ("SELEC 1", 'the query is invalid: Parser Error: syntax error at or near "SELEC"'),
        ("SELECT * FROM catalog", "the query is invalid: Catalog Error: Table with name catalog does not exist"),
    ],
)
def test_an_invalid_query_is_one_sentence(catalog: BarCatalog, query: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        sql(query)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_missing_source_and_a_flipped_byte_are_one_sentence(
    catalog: BarCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(Unavailable, match=r"^no PostgreSQL: no platform runs in the state folder, and DATABASE_URL is"):
        sql("SELECT * FROM postgres.orders")
    [month] = catalog.months("1d", "BTC/USD")
    path = catalog.series_folder("1d", "BTC/USD") / month.file
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"^the catalogue file .* is damaged"):
        sql("SELECT * FROM catalog.bars")


def test_the_command_prints_and_writes_the_result(catalog: BarCatalog, tmp_path: Path) -> None:
    query = "SELECT symbol, count(*) AS bars FROM catalog.bars GROUP BY symbol ORDER BY symbol"
    assert run(query, "--csv").output == "symbol,bars\nBTC/USD,1\nSPY,3\n"
    assert "BTC/USD" in run(query).output and run(query).output.endswith("2 rows\n")
    rows: Any = json.loads(run(query, "--json").output)
    assert rows == [{"symbol": "BTC/USD", "bars": 1}, {"symbol": "SPY", "bars": 3}]
    file = tmp_path / "out.parquet"
    assert run(query, "--output", str(file)).output == f"2 rows written to {file}\n"
    assert list(pd.read_parquet(file)["bars"]) == [1, 3]
    assert {"catalog.bars", "topics.market_bars", "archive.bars", "postgres.orders"} <= set(
        run("--tables").output.split()
    )
