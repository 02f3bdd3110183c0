"""What was typed at `start` reaches the settings, and is said again by `restart`."""

from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.start_options import Choices, choose, remember, remembered


def test_files_become_absolute_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").touch()
    monkeypatch.chdir(tmp_path)
    choices = choose(None, [Path("a.csv")], "max", None)
    assert choices.environment() == {
        "MARKET_DATA__FEED": "files",
        "MARKET_DATA__FILES__PATHS": f'["{tmp_path}/a.csv"]',
        "MARKET_DATA__FILES__SPEED": "max",
    }


def test_nothing_chosen_sets_nothing() -> None:
    assert choose(None, [], None, None).environment() == {}


@pytest.mark.parametrize(
    ("feed", "bars", "speed", "said"),
    [
        ("tape", [], None, "--feed must be one of simulator, files, live, alpaca, polygon, found 'tape'"),
        ("files", [], None, "--feed files needs --bars"),
        ("simulator", ["a.csv"], None, "--bars belongs to --feed files"),
        ("files", ["gone.csv"], None, "gone.csv is not a file"),
        ("files", ["a.csv"], "0", "--speed must be `max` or a number > 0, found '0'"),
        ("files", ["a.csv"], "fast", "--speed must be"),
    ],
)
def test_a_wrong_choice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feed: str, bars: list[str], speed: str | None, said: str
) -> None:
    (tmp_path / "a.csv").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeployError, match=said):
        choose(feed, [Path(name) for name in bars], speed, None)


def test_restart_repeats_what_start_was_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    assert remembered(home) == Choices()
    choices = Choices("files", ("/bars/a.csv", "/bars/b.csv"), "10", "/my/settings.yaml")
    remember(home, choices)
    assert remembered(home) == choices
