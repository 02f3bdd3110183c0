"""Files that cannot be read give one sentence that says what the file is and what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dataflows.sources.file_feed import FeedSettings, FileFeed
from dataflows.sources.rows import RowRules
from dataflows.sources.tape.rules import NEWS
from dataflows.sources.tape.tape_file import TapeFile
from deploy.cli import app, register_all
from schemas.errors import BadInput
from tests.builders.lots_command import HEADER, run_lots

BARS_HEADER = "time,open,high,low,close,volume"
BARS = "\n".join([BARS_HEADER, *(f"2024-07-01T13:{n}:00Z,10,11,9,10,100" for n in range(30, 60))]) + "\n"
PACKED = gzip.compress(BARS.encode())
UTF_16 = "is text of UTF-16; save it as CSV UTF-8"
FILES = [
    ("X.csv", BARS.encode("utf-16"), UTF_16),
    ("X.csv", BARS.encode("utf-16-le"), UTF_16),
    ("X.csv", BARS.encode("utf-16-be"), UTF_16),
    ("X.csv", bytes(range(256)), "is binary data, not text"),
    ("X.csv", b"PK\x03\x04" + bytes(99), "is a spreadsheet or a ZIP archive; export the sheet as CSV"),
    ("X.csv", b"PAR1" + bytes(99), "is Parquet; its name must end in .parquet"),
    ("X.csv", PACKED, "is compressed with gzip; its name must end in .gz"),
    ("X.csv.gz", BARS.encode(), "is not compressed with gzip, although its name ends in .gz"),
    ("X.csv.gz", PACKED[:-20], "is incomplete or damaged gzip data; download or compress it again"),
    ("X.csv.gz", PACKED[:20] + bytes(40) + PACKED[60:], "is incomplete or damaged gzip data"),
    ("X.csv", BARS.replace("\n", "\r").encode(), "has lines that end with a carriage return (CR) only"),
    ("X.csv", b"<!DOCTYPE html><html>", "is a web page or XML, not CSV"),
    ("X.csv", b'[{"time": 1}]', "is JSON, not CSV"),
    ("X.csv", b"", "is empty"),
    ("X.csv", b"\n" + BARS.encode(), "starts with an empty line; its first line must be the header"),
    ("X.csv", BARS.replace(",", "|").encode(), "columns must be separated by commas, semicolons or tabs"),
    ("X.csv", BARS.partition("\n")[2].encode(), "the first line must name the columns, such as time,open,"),
    ("X.csv", BARS_HEADER.encode(), "no usable row in X.csv: there is a header line, but no row"),
]


@pytest.mark.parametrize(("name", "content", "message"), FILES)
def test_a_file_of_bars_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as error:
        list(FileFeed([tmp_path / name]))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"), [(*row[:2], row[2]) for row in FILES[:13] if b"[{" not in row[1]]
)
def test_a_file_of_news_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    news = content if name == "X.csv" else gzip.compress(b"time,headline\n" + b"2024-07-01,up\n" * 99)[:-20]
    (tmp_path / name).write_bytes(news)
    with pytest.raises(BadInput) as error:
        list(TapeFile(tmp_path / name, NEWS, RowRules(FeedSettings()), lambda _: []).rows())
    assert ("is incomplete" if name == "X.csv.gz" else message) in str(error.value)


FILLS = f"{HEADER}\n2024-01-02,X,BUY,10,10,0\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FILLS.encode("utf-16"), f"fills.csv {UTF_16}"),
        (b"PK\x03\x04" + bytes(99), "fills.csv is a spreadsheet or a ZIP archive"),
        (FILLS.replace("X", "é").encode("latin-1"), "byte 47 is not valid; save it as CSV UTF-8"),
        (
            FILLS.replace(",", ";").encode(),
            "expected time,symbol,side,quantity,price,fee; columns must be separated by",
        ),
        (FILLS.replace("10,10", '"1,000",10').encode(), "a number > 0, with a decimal point and digits only, found"),
        (FILLS.replace("10,10", "10,$10").encode(), "a number >= 0, with a decimal point and digits only, found '$10'"),
        (b"\n\n", "fills.csv is empty, expected the header time,symbol,side,quantity,price,fee"),
    ],
)
def test_a_file_of_trades_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "fills.csv").write_bytes(content)
    result = CliRunner().invoke(_cli(), ["lots", "--fills", str(tmp_path / "fills.csv")])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr


@pytest.mark.parametrize("fills", [HEADER, FILLS.replace("10,10", "1e1,1E+1"), FILLS.replace("\n", "\r")])
def test_files_of_trades_that_can_be_read(tmp_path: Path, fills: str) -> None:
    result = run_lots(tmp_path, fills, "--json", "-")
    assert result.exit_code == 0
    lots = [(lot["quantity"], lot["price"]) for lot in json.loads(result.stdout)["open_lots"]]
    assert lots == ([("10", "10")] if fills != HEADER else [])
    assert result.stderr == ("" if fills != HEADER else "note: there is no trade in fills.csv\n")


def test_a_volume_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "X.csv").write_text(BARS.replace(",100\n", ",1e3\n"))
    (bar, *_) = next(FileFeed([tmp_path / "X.csv"])).records
    assert getattr(bar, "volume") == 1000  # noqa: B009


def test_options_name_what_the_file_does_not_say(tmp_path: Path) -> None:
    """The messages name these options, so that the next run reads the file."""
    rows = [f"07/01/2024 09:{n};10,5;10,5;10,5;10,5" for n in range(31, 60)]
    path = tmp_path / "X.csv"
    path.write_text("\n".join(["time;open;high;low;close", *rows]))
    options = ["--timezone", "America/New_York"]
    for flag, value in (("--volume", "none"), ("--date-order", "mdy"), ("--decimal", ","), ("--time-is", "close")):
        for command in (["data", "check", str(path)], ["backtest", "--bars", str(path)]):
            result = CliRunner().invoke(_cli(), [*command, *options])
            if flag != "--time-is":
                assert result.exit_code != 0 and flag in f"{result.output} {result.exception}"
        options += [flag, value]
    result = CliRunner().invoke(_cli(), ["data", "check", str(path), *options, "--json", "-"])
    (check,) = json.loads(result.stdout)
    assert (check["rows"], check["first"], check["findings"]) == (29, "2024-07-01T13:31:00Z", [])
    assert check["symbols"]["X"]["bars"] == 29


def _cli() -> typer.Typer:
    register_all()
    return app
