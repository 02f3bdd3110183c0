"""Bundles: they reproduce a run in a new process, and name the part in which anything was changed."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner
from typer.testing import Result as CommandResult

from dataflows.research import backtest, load_run
from dataflows.research.bundles import bundle_file
from dataflows.research.bundles.bundle_contents import create_bundle
from dataflows.research.bundles.bundle_file import BundlePart, read_bundle, write_bundle
from dataflows.research.bundles.verification import Verification, verify_bundle
from dataflows.research.catalog_import import import_files
from dataflows.research.trial_ledger import Trial, TrialLedger
from dataflows.sources.catalog.bar_catalog import BarCatalog, catalog_folder
from deploy.commands import bundle as bundle_command
from deploy.errors import DeployError
from deploy.fresh_workplace import fresh_workplace
from operators.bar_completion import FeedSettings
from schemas.errors import BadInput
from tests.replay.market import FRIDAY, write_market
from tests.replay.runs import SETTINGS_FILE

STRATEGY = """
from operators.strategies import TradingStrategy

class BuyAndSell(TradingStrategy):
    symbols = ("A", "B")

    def __init__(self, *, hold: int = 7) -> None:
        self.hold = hold

    def on_slice(self, ctx):
        count = ctx.state["count"] = ctx.state.get("count", 0) + 1
        for symbol in self.symbols:
            ctx.target_weight(symbol, 0.04 if count // self.hold % 2 else 0.0)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with the run `own`, of a strategy file and a file of orders, a trial of it, and its bundle."""
    home = tmp_path_factory.mktemp("home")
    write_market(home / "bars", symbols=("A", "B"), days=[FRIDAY], minutes=240)
    (home / "mine.py").write_text(STRATEGY)
    (home / "orders.csv").write_text("time,action,id,symbol,side,quantity\n2024-03-08T15:00:00Z,submit,one,A,BUY,3\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_HOME", str(home))
        strategy = f"{home / 'mine.py'}:BuyAndSell"
        run = backtest(
            strategy, home / "bars", settings=SETTINGS_FILE, name="own", benchmark="A", orders=home / "orders.csv"
        )
        assert run.summary["fills"] > 10
        create_bundle(load_run("own"), home / "own.bundle", ledger_of(home, run.strategies[0], run.sources.data_sha256))
    return home


def ledger_of(home: Path, strategy: str, data: str) -> TrialLedger:
    ledger = TrialLedger(home / "trials.sqlite")
    trial = Trial(
        strategy=strategy,
        code_hash="c",
        data_hash=data,
        settings_hash="s",
        parameters={},
        seed=None,
        objectives={"sharpe": 1.0},
        sharpe=None,
        decision_hash="d",
        user="u",
        run="",
        recorded_ns=1,
    )
    ledger.record([trial])
    return ledger


def verify(path: Path) -> Verification:
    return verify_bundle(path, trust_source=True)


def parts_of(path: Path) -> dict[str, tuple[str, bytes]]:
    """Return kind and content of each part by name."""
    with zipfile.ZipFile(path) as archive:
        listed = json.loads(archive.read(bundle_file.MANIFEST))["parts"]
        return {one["name"]: (one["kind"], archive.read(one["name"])) for one in listed}


def rewritten(path: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """Write a bundle in which one part has another content, with a manifest that fits."""
    parts = [
        BundlePart(one, kind, change(content) if one == name else content)
        for one, (kind, content) in parts_of(path).items()
    ]
    write_bundle(target, parts, {})
    return target


def in_json(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        value = json.loads(content)
        change(value)
        return json.dumps(value).encode()

    return changed


def content_place(path: Path, name: str) -> tuple[int, int]:
    """Return start and length of the compressed content of a part in the file."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    header = path.read_bytes()[info.header_offset : info.header_offset + 30]
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + name_length + extra_length, info.compress_size


def flipped(path: Path, target: Path, byte: int, bit: int) -> Path:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    target.write_bytes(content)
    return target


def test_a_bundle_has_every_kind_of_part_and_equal_runs_give_equal_bundles(home: Path, tmp_path: Path) -> None:
    parts = parts_of(home / "own.bundle")
    assert {kind for kind, _ in parts.values()} == set(bundle_file.KINDS)
    assert parts["source/0000/mine.py"][1].decode() == STRATEGY
    assert parts["data/orders/0002/orders.csv"][1] == (home / "orders.csv").read_bytes()
    assert [json.loads(line)["number"] for line in parts["trials.jsonl"][1].splitlines()] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_HOME", str(home))
        create_bundle(load_run("own"), tmp_path / "again.bundle", TrialLedger(home / "trials.sqlite"))
    assert parts_of(tmp_path / "again.bundle") == parts


@pytest.mark.parametrize("kind", [*bundle_file.KINDS, "manifest"])
def test_one_flipped_bit_is_reported_with_the_name_of_its_part(home: Path, tmp_path: Path, kind: str) -> None:
    names = [name for name, (found, _) in parts_of(home / "own.bundle").items() if found == kind]
    for name in names or [bundle_file.MANIFEST]:
        start, length = content_place(home / "own.bundle", name)
        ends = () if kind == "data" else (start, start + length - 1)  # bits at the ends of compressed data mean nothing
        for byte in (start + length // 2, *ends):
            damaged = flipped(home / "own.bundle", tmp_path / "damaged", byte, 0)
            with pytest.raises(BadInput, match=rf"^part {name} \({kind}\) ") as error:
                verify(damaged)
            assert "\n" not in str(error.value)


def test_a_flipped_bit_anywhere_is_found(home: Path, tmp_path: Path) -> None:
    size = (home / "own.bundle").stat().st_size
    rng = random.Random(1)
    tail = range(size - 3000, size)  # the table of parts, whose damage is the most varied
    read_bundle(home / "own.bundle", tmp_path / "whole")
    for number in range(200):
        byte, bit = rng.choice(tail) if number % 2 else rng.randrange(size), rng.randrange(8)
        with pytest.raises(BadInput):
            read_bundle(flipped(home / "own.bundle", tmp_path / "damaged", byte, bit), tmp_path / "parts")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("source/0000/mine.py", lambda text: text.replace(b"0.04", b"0.03"), "source of the"),
        ("data/bars/0000/A.csv", lambda text: text[:-4] + b"9999\n", "data: SHA-256 is "),
        ("settings.json", in_json(lambda one: one["portfolio_manager"].update(initial_capital="54321")), "decisions: "),
        ("result.json", in_json(lambda one: one.update(code_sha256="0")), "commit: the run had the platform's code of"),
    ],
)
def test_the_first_thing_that_differs_is_named(
    home: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes], message: str
) -> None:
    difference = verify(rewritten(home / "own.bundle", tmp_path / "changed", name, change)).difference
    assert difference is not None
    assert difference.startswith(message)


def test_a_bundle_is_reproduced_although_lock_and_python_differ(home: Path, tmp_path: Path) -> None:
    other = rewritten(home / "own.bundle", tmp_path / "lock", bundle_file.LOCK, lambda text: text + b"# more\n")
    other = rewritten(other, tmp_path / "both", bundle_file.COMMIT, in_json(lambda one: one.update(python="3.9.0")))
    verification = verify(other)
    assert verification.difference is None
    assert verification.notes[0] == "lock: the locked packages are not those of the run"
    assert verification.notes[1].endswith("the run had 3.9.0")


def test_a_reference_to_data_that_changed_or_is_missing_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    write_market(tmp_path / "bars", symbols=("A",), days=[FRIDAY], minutes=400)
    backtest("ema_cross", tmp_path / "bars", settings=SETTINGS_FILE, name="there")
    create_bundle(load_run("there"), tmp_path / "b", TrialLedger(tmp_path / "trials.sqlite"), with_data=False)
    assert "data" not in {kind for kind, _ in parts_of(tmp_path / "b").values()}
    assert verify_bundle(tmp_path / "b").difference is None
    file = tmp_path / "bars" / "A.csv"
    file.write_text(file.read_text().replace("20.", "21.", 1))
    assert verify_bundle(tmp_path / "b").difference == f"data: the file {file} has changed since the run"
    with pytest.raises(BadInput, match="data files of run there have changed"):
        create_bundle(load_run("there"), tmp_path / "c", TrialLedger(tmp_path / "trials.sqlite"))
    file.unlink()
    assert str(verify_bundle(tmp_path / "b").difference).startswith(f"data: the file {file} does not exist")


def test_a_run_of_the_catalogue_is_packed_with_its_months(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    write_market(tmp_path / "bars", symbols=("A", "B"), days=[FRIDAY], minutes=400)
    import_files(BarCatalog(catalog_folder()), [tmp_path / "bars"], FeedSettings())
    backtest("ema_cross", "catalog:*", settings=SETTINGS_FILE, name="catalogue")
    create_bundle(load_run("catalogue"), tmp_path / "b", TrialLedger(tmp_path / "trials.sqlite"))
    names = [name for name, (kind, _) in parts_of(tmp_path / "b").items() if kind == "data"]
    assert len(names) == 4, "a manifest and one month for each symbol"
    shutil.rmtree(catalog_folder())
    assert verify_bundle(tmp_path / "b").difference is None


def test_foreign_code_does_not_run_without_consent(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"strategy code \(source/0000/mine.py\).*pass --trust-source"):
        verify_bundle(home / "own.bundle")
    hidden = in_json(lambda one: one.update(sources={}))
    with pytest.raises(BadInput, match=r"name the strategy code .*mine\.py, which is not a part"):
        verify(rewritten(home / "own.bundle", tmp_path / "hidden", bundle_file.INPUTS, hidden))
    disguised = in_json(lambda one: one.update(sources=dict.fromkeys(one["sources"], "data/bars/0000/A.csv")))
    with pytest.raises(BadInput, match="which is not a part"):
        verify(rewritten(home / "own.bundle", tmp_path / "disguised", bundle_file.INPUTS, disguised))


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "a//b"])
def test_a_part_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    manifest = json.dumps({"version": 1, "parts": [{"name": name, "kind": "data", "sha256": "", "bytes": 0}]})
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr(bundle_file.MANIFEST, manifest)
    with pytest.raises(BadInput, match="not a relative path"):
        read_bundle(tmp_path / "b", tmp_path / "folder")


def test_a_run_that_cannot_be_reproduced_is_refused_in_one_sentence(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(home))
    run, ledger = load_run("own"), TrialLedger(tmp_path / "trials.sqlite")
    entry = {"name": "python:Mine", "parameters": {}}
    other_strategies = {**run.settings, "signals": {**run.settings["signals"], "strategies": [entry]}}
    for changed, message in (
        (replace(run, sources=run.sources._replace(data=("frame",))), "read a pandas frame"),
        (replace(run, sources=run.sources._replace(data_sha256="")), "read recorded topics"),
        (replace(run, sources=run.sources._replace(code_sha256="0")), "ran other code of the platform"),
        (replace(run, settings=other_strategies), "a class of a program"),
        (replace(run, tables={k: v for k, v in run.tables.items() if k != "source_files"}), "without the source"),
    ):
        with pytest.raises(BadInput, match=message):
            create_bundle(changed, tmp_path / "b", ledger)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["trials.sqlite"])


def command(*arguments: object) -> CommandResult:
    app = typer.Typer()
    bundle_command.register(app)
    return CliRunner().invoke(app, ["bundle", *map(str, arguments)])


def test_the_commands_create_show_and_verify(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(home))
    target = tmp_path / "own.bundle"
    created = command("create", "own", "-o", target)
    assert "reproduced run own: decision hash" in created.stdout, created.output
    shown = command("show", target).stdout
    assert f"decision hash {load_run('own').decision_hash}" in shown
    assert "source/0000/mine.py" in shown
    assert "class BuyAndSell" in command("show", target, "--source").stdout
    changed = in_json(lambda one: one["metrics"].update(total_return=0.5))
    failed = command("verify", rewritten(target, tmp_path / "c", bundle_file.RESULT, changed), "--trust-source")
    assert isinstance(failed.exception, DeployError)
    assert str(failed.exception).startswith("run own is not reproduced. First difference: metric total_return: ")
    assert "there is no bundle" in str(command("verify", tmp_path / "none").exception)


def test_a_fresh_environment_needs_the_commit_and_its_lock(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="commit: git cannot read 0000"):
        fresh_workplace("0" * 40, "", tmp_path)
    (tmp_path / "again").mkdir()
    with pytest.raises(BadInput, match="lock: the bundle has other locked packages than commit HEAD"):
        fresh_workplace("HEAD", "other", tmp_path / "again")


@pytest.mark.long
def test_a_fresh_environment_reproduces_a_bundle(home: Path) -> None:
    """Install the locked packages. This fails with uncommitted changes of the code, which no commit has."""
    assert verify_bundle(home / "own.bundle", prepare=fresh_workplace, trust_source=True).difference is None
