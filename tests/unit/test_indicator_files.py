"""Indicators in files of the user (`features.indicator_files`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.indicator_files import register_indicator_files
from configs.settings import load_settings
from configs.strategies import configured_strategies
from dataflows.runtime import stages
from operators.features import FeatureStage
from operators.indicators import INDICATORS, build
from schemas.errors import BadInput
from schemas.records import DeadLetter, FeatureRow
from tests.builders import bar

pytestmark = pytest.mark.usefixtures("restored_indicators")
SOURCE = '''
from operators.indicators import Indicator, ValueUnit


class LastRange(Indicator):
    """High minus low."""

    kind = "last_range"
    parameters = {"scale": float}
    units = (ValueUnit.PRICE_CHANGE,)

    def __init__(self, name, scale):
        self.name, self.scale = name, scale

    def update(self, bar, values):
        values[self.name] = 1 / 0 if bar.seq == 3 else self.scale * (bar.high - bar.low)

    def rescale(self, factor):
        pass

    def snapshot(self):
        return ()

    def restore(self, snapshot):
        pass
'''


def write(folder: Path, source: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(source)
    return file


def test_settings_name_the_file_and_its_indicators_work_like_others(tmp_path: Path) -> None:
    file = write(tmp_path, SOURCE)
    settings_file = write(
        tmp_path,
        f"features: {{indicator_files: [{file}], indicators: [last_range_2, 'sma_2(last_range_2)']}}",
        "settings.yaml",
    )
    stage = stages.features(load_settings(settings_file, {}))()
    assert isinstance(stage, FeatureStage)
    rows = [stage.on_slice(seq, [bar("A", seq, seq, 10.0, high=11.0, low=9.0 - seq)])[0] for seq in (1, 2)]
    assert [row.values.get("last_range_2") for row in rows if type(row) is FeatureRow] == [6.0, 8.0]
    assert type(rows[1]) is FeatureRow and rows[1].values["sma_2(last_range_2)"] == 7.0
    _, *letters = stage.on_slice(3, [bar("A", 3, 3, 10.0)])
    assert [letter.topic for letter in letters if type(letter) is DeadLetter] == [
        "indicator:last_range_2/A",
        "indicator:sma_2(last_range_2)/A",
    ]
    line = next(i for i, text in enumerate(SOURCE.splitlines(), 1) if "1 / 0" in text)
    assert all(type(letter) is DeadLetter and letter.reason.endswith(f"{file}:{line}") for letter in letters)


def test_a_strategy_can_read_an_indicator_of_a_file(tmp_path: Path) -> None:
    file = write(tmp_path, SOURCE.replace("last_range", "own_range"))
    strategy = write(
        tmp_path,
        "class Wide:\n"
        "    name, features = 'wide', ('own_range_1',)\n"
        "    def decide(self, row, state):\n"
        "        return state, None\n",
        "strategy.py",
    )
    settings = load_settings(
        write(
            tmp_path,
            f"features: {{indicator_files: [{file}]}}\nsignals: {{strategies: [{{name: '{strategy}:Wide'}}]}}",
            "settings.yaml",
        ),
        {},
    )
    assert [one.features for one in configured_strategies(settings).views] == [("own_range_1",)]


def test_a_loaded_file_is_loaded_again_if_its_indicator_is_no_longer_known(tmp_path: Path) -> None:
    """Tests, and replays of other files, remove indicators from this process."""
    file = write(tmp_path, SOURCE)
    register_indicator_files([file])
    del INDICATORS["last_range"]
    register_indicator_files([file])
    assert "last_range" in INDICATORS


def test_a_changed_file_is_loaded_again(tmp_path: Path) -> None:
    file = write(tmp_path, SOURCE)
    register_indicator_files([file])
    first = type(build("last_range_2"))
    register_indicator_files([file])
    assert type(build("last_range_2")) is first
    register_indicator_files([write(tmp_path, SOURCE + "\n# changed\n")])
    assert type(build("last_range_2")) is not first


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "expected a class derived from Indicator with a `kind`, found none"),
        ("1 / 0", "the file fails with ZeroDivisionError: division by zero"),
        (SOURCE.replace("last_range", "sma"), "the indicator 'sma' exists already in "),
        (
            SOURCE.replace("last_range", "last-range"),
            "`kind` must be words of lower-case letters and digits, joined by _",
        ),
        (SOURCE.replace("last_range", "range_14"), "joined by _, found 'range_14'"),
        (SOURCE.replace("def restore", "def restored"), "LastRange has no method restore"),
        (SOURCE + "\nclass Other(LastRange):\n    pass\n", "two indicators have the kind 'last_range'"),
    ],
)
def test_an_invalid_file_is_rejected_with_its_name(tmp_path: Path, source: str, message: str) -> None:
    file = write(tmp_path, source)
    with pytest.raises(BadInput) as error:
        register_indicator_files([file])
    assert str(error.value).startswith(f"indicator file {file}: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("method", "message", "line"),
    [
        (
            "def snapshot(self):\n        return None",
            "snapshot must return a tuple of plain values, found NoneType",
            21,
        ),
        (
            "def snapshot(self):\n        return self.total",
            "its snapshot or restore raises AttributeError: 'LastRange'",
            22,
        ),
        (
            "def snapshot(self):\n        return (1, 2)",
            "its snapshot or restore raises ValueError: too many values to unpack (expected 1)",
            25,
        ),
    ],
)
def test_an_indicator_without_a_sound_snapshot_is_rejected_at_the_start(
    tmp_path: Path, method: str, message: str, line: int
) -> None:
    source = SOURCE.replace("def snapshot(self):\n        return ()", method)
    file = write(tmp_path, source.replace("snapshot):\n        pass", "snapshot):\n        (self.total,) = snapshot"))
    register_indicator_files([file])
    with pytest.raises(BadInput) as error:
        FeatureStage(["sma_2", "last_range_2"])
    sentence = str(error.value)
    assert sentence.startswith(f"indicator last_range_2: {message}") and sentence.endswith(f"({file}:{line})"), sentence


def test_a_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"indicator file .*none\.py: file .* does not exist"):
        register_indicator_files([tmp_path / "none.py"])
