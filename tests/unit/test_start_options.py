"""The options of `start` reach the settings, and `restart` uses them again."""

from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import load_settings
from dataflows.runtime.topology import Layout
from dataflows.sources.catalog.bar_catalog import BarCatalog, CatalogOrigin, catalog_folder
from dataflows.sources.feed_selection import feed_source
from deploy.commands.platform import _with_recognized_bars
from deploy.home import Home
from deploy.supervisor.start_options import (
    StartOptions,
    dropped_settings_note,
    load_options,
    save_options,
    validate_options,
)
from schemas.errors import BadInput
from tests.unit.test_bar_catalog import DAY_NS, START_NS, bars


def test_files_become_absolute_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").touch()
    monkeypatch.chdir(tmp_path)
    options = validate_options(None, [Path("a.csv")], "max", None)
    assert options.environment() == {
        "MARKET_DATA__FEED": "files",
        "MARKET_DATA__FILES__PATHS": f'["{tmp_path}/a.csv"]',
        "MARKET_DATA__FILES__SPEED": "max",
    }


def test_interval_and_session_of_the_files_reach_every_service() -> None:
    options = StartOptions(feed="files", bars=("a.csv",), bar_interval="1d", session="regular")
    assert options.environment() == {
        "MARKET_DATA__FEED": "files",
        "MARKET_DATA__FILES__PATHS": '["a.csv"]',
        "MARKET_DATA__FILES__BAR_INTERVAL": "1d",
        "MARKET_DATA__FILES__SESSION": "regular",
    }


def test_start_recognizes_the_bars_once_for_all_services(tmp_path: Path) -> None:
    rows = [f"2024-07-0{day},1,1,1,1,1" for day in (1, 2, 3, 5)]
    (tmp_path / "A.csv").write_text("\n".join(["date,open,high,low,close,volume", *rows]))
    options = _with_recognized_bars(Home(tmp_path), StartOptions(feed="files", bars=(str(tmp_path / "A.csv"),)))
    assert (options.bar_interval, options.session) == ("1d", "regular")
    settings = load_settings(environment=options.environment())
    assert settings.market_data.bars_per_year() == 252
    assert feed_source(settings.market_data).open_feed().interval_ns == 86_400 * 10**9
    with pytest.raises(BadInput, match="the files have bars of 1d: set market_data"):
        feed_source(load_settings(environment=replace(options, bar_interval=None).environment()).market_data)
    assert _with_recognized_bars(Home(tmp_path), StartOptions()) == StartOptions()


def test_bars_of_the_catalogue_are_recognized_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    options = validate_options(None, [Path("catalog:SPY")], None, None)
    assert options.bars == ("catalog:SPY",)
    with pytest.raises(BadInput, match=r"^the catalogue .* has no bars; add some with"):
        _with_recognized_bars(Home(tmp_path), options)
    origin = CatalogOrigin("vendor", "XNYS", 5)
    BarCatalog(catalog_folder()).add("1d", "SPY", bars("SPY", [START_NS, START_NS + DAY_NS]), origin)
    recognized = _with_recognized_bars(Home(tmp_path), options)
    assert (recognized.bar_interval, recognized.session) == ("1d", "regular")
    source = feed_source(load_settings(environment=recognized.environment()).market_data)
    assert source.open_feed().interval_ns == DAY_NS


def test_the_layout_is_stored_and_only_known_ones_are_accepted(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    save_options(home, validate_options(None, [], None, None, layout="compact"))
    assert load_options(home).requested_layout() is Layout.COMPACT
    assert StartOptions().requested_layout() is None
    with pytest.raises(BadInput, match="--layout must be one of services, compact, found 'wide'"):
        validate_options(None, [], None, None, layout="wide")


def test_a_start_without_the_settings_file_of_the_last_one_prints_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLATFORM_SETTINGS", raising=False)
    home = Home(tmp_path)
    home.create_folders()
    assert dropped_settings_note(home, StartOptions()) == ""
    save_options(home, StartOptions(settings="/my/settings.yaml"))
    assert "the last start used --settings /my/settings.yaml" in dropped_settings_note(home, StartOptions())
    assert dropped_settings_note(home, StartOptions(settings="/my/other.yaml")) == ""
    monkeypatch.setenv("PLATFORM_SETTINGS", "/my/settings.yaml")
    assert dropped_settings_note(home, StartOptions()) == ""


def test_no_options_set_no_environment() -> None:
    assert validate_options(None, [], None, None).environment() == {}


@pytest.mark.parametrize(
    ("feed", "bars", "speed", "message"),
    [
        ("tape", [], None, "--feed must be one of simulator, files, live, alpaca, polygon, found 'tape'"),
        ("alpacca", [], None, r"found 'alpacca'; did you mean alpaca\?"),
        ("live", ["a.csv"], None, "--bars requires --feed files, found --feed live"),
        ("files", [], None, "--feed files requires --bars"),
        ("simulator", ["a.csv"], None, "--bars requires --feed files"),
        ("files", ["gone.csv"], None, "--bars: file gone.csv does not exist"),
        ("files", ["a.csv"], "0", "--speed must be `max` or a number > 0, found '0'"),
        ("files", ["a.csv"], "fast", "--speed must be"),
    ],
)
def test_invalid_option_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feed: str, bars: list[str], speed: str | None, message: str
) -> None:
    (tmp_path / "a.csv").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=message):
        validate_options(feed, [Path(name) for name in bars], speed, None)


def test_restart_uses_the_options_of_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    assert load_options(home) == StartOptions()
    options = StartOptions("files", ("/bars/a.csv", "/bars/b.csv"), "10", "/my/settings.yaml")
    save_options(home, options)
    assert load_options(home) == options
