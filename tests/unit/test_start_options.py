"""The options of `start` reach the settings, and `restart` uses them again."""

from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.start_options import StartOptions, load_options, save_options, validate_options


def test_files_become_absolute_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").touch()
    monkeypatch.chdir(tmp_path)
    options = validate_options(None, [Path("a.csv")], "max", None)
    assert options.environment() == {
        "MARKET_DATA__FEED": "files",
        "MARKET_DATA__FILES__PATHS": f'["{tmp_path}/a.csv"]',
        "MARKET_DATA__FILES__SPEED": "max",
    }


def test_no_options_set_no_environment() -> None:
    assert validate_options(None, [], None, None).environment() == {}


@pytest.mark.parametrize(
    ("feed", "bars", "speed", "message"),
    [
        ("tape", [], None, "--feed must be one of simulator, files, live, alpaca, polygon, found 'tape'"),
        ("files", [], None, "--feed files requires --bars"),
        ("simulator", ["a.csv"], None, "--bars requires --feed files"),
        ("files", ["gone.csv"], None, "gone.csv is not a readable file"),
        ("files", ["a.csv"], "0", "--speed must be `max` or a number > 0, found '0'"),
        ("files", ["a.csv"], "fast", "--speed must be"),
    ],
)
def test_invalid_option_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feed: str, bars: list[str], speed: str | None, message: str
) -> None:
    (tmp_path / "a.csv").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeployError, match=message):
        validate_options(feed, [Path(name) for name in bars], speed, None)


def test_restart_uses_the_options_of_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    assert load_options(home) == StartOptions()
    options = StartOptions("files", ("/bars/a.csv", "/bars/b.csv"), "10", "/my/settings.yaml")
    save_options(home, options)
    assert load_options(home) == options
