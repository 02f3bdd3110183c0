"""`bundle`: pack a saved run or the recorded session with what reproduces it, show a bundle, and reproduce it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from configs.recorded_endpoints import ADMIN
from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.recovery.trust_source import TrustSource as TrustRecorded
from deploy.recovery.trust_source import source_of_recording
from deploy.text_outputs import require_output
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from dataflows.research.bundles.verification import Verification

Run = Annotated[str | None, typer.Argument(help="Name of a run, as `runs list` prints it.")]
WholeSession = Annotated[
    bool, typer.Option("--session", help="Pack the recorded session of this platform, running or stopped.")
]
File = Annotated[Path, typer.Argument(help="Bundle.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write. By default, RUN.bundle or session.bundle.")
]
References = Annotated[
    bool, typer.Option("--references", help="Refer to the data files by path and hash instead of packing them.")
]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Do not reproduce the bundle after writing it.")]
Fresh = Annotated[
    bool,
    typer.Option("--fresh-environment", help="Check out the commit of the run, and install its locked packages first."),
]
TrustSource = Annotated[
    bool, typer.Option("--trust-source", help="Run the strategy code of the bundle. Read it before.")
]
Source = Annotated[bool, typer.Option("--source", help="Print the strategy code.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Pack runs so that others can reproduce them.", no_args_is_help=True)
    group.command("create", help="Pack a saved run or the recorded session, with source, settings, lock and commit.")(
        create
    )
    group.command("show", help="List the parts of a bundle, or print its strategy code.")(show)
    group.command("verify", help="Reproduce a bundle, and name the first thing that differs.")(verify)
    app.add_typer(group, name="bundle")


def create(
    run: Run = None,
    session: WholeSession = False,
    output: Output = None,
    references: References = False,
    no_check: NoCheck = False,
    trust_source: TrustRecorded = False,
) -> None:
    from dataflows.research.bundles.verification import verify_bundle

    if (run is None) is not session:
        raise BadInput("bundle create needs the name of a run, or --session for the recorded session, and not both")
    if session and references:
        raise BadInput("--references is for the files of a run; a session has none")
    target = output or Path(f"{run or 'session'}.bundle")
    require_output("--output", target)
    try:
        if run is None:
            _pack_session(target, trust_source=trust_source)
        else:
            _pack_run(run, target, with_data=not references)
    except Unavailable as error:
        raise DeployError(str(error)) from error
    print(f"wrote {target} ({target.stat().st_size:,} bytes)")
    if not no_check:
        _report(verify_bundle(target, trust_source=True), as_json=False)


def _pack_run(run: str, target: Path, *, with_data: bool) -> None:
    from dataflows.research.bundles.bundle_contents import create_bundle
    from dataflows.research.stored_results import load_run
    from dataflows.research.trial_ledger import TrialLedger

    ledger = TrialLedger(home_from_environment().trial_ledger)
    create_bundle(load_run(run), target, ledger, with_data=with_data)


def _pack_session(target: Path, *, trust_source: bool) -> None:
    """Copy all topics up to their last clocks, replay them, and write the bundle."""
    from dataflows.research.bundles.session_bundle import create_session_bundle
    from deploy.archive.session_copy import copied_session
    from deploy.recovery.recorded_topics import recorded_settings

    home = home_from_environment()
    with (
        Console(stderr=True).status("reading the topics") as status,
        recorded_settings(home, status.update, principal=ADMIN) as settings,
        copied_session(settings.kafka, status.update) as archive,
        source_of_recording(home, trust_source) as source,
    ):
        status.update("replaying")
        session = create_session_bundle(archive, settings, target, target.stem, source)
    print(f"packed {session.ticks:,} time slices")


def show(file: File, source: Source = False) -> None:
    from dataflows.research.bundles.bundle_file import COMMIT, INPUTS, RESULT, read_bundle

    with TemporaryDirectory(prefix="bundle-") as folder:
        bundle = read_bundle(file, Path(folder))
        if source:
            for name in [name for name, kind in bundle.kinds.items() if kind == "source"]:
                print(f"# {name}\n{bundle.text(name)}")
            return
        result, commit = bundle.json(RESULT), bundle.json(COMMIT)
        kind = "session" if "session" in bundle.json(INPUTS) else "run"
        print(f"{kind} {result['name']} of {', '.join(result['strategies']) or 'orders'}")
        if kind == "session":
            print(f"{result['time_slices']:,} time slices from {result['from']} to {result['to']}")
        print(f"decision hash {result['decision_hash']}\ncommit {commit['commit']}, Python {commit['python']}")
        for name, kind in bundle.kinds.items():
            print(f"{kind:10} {(bundle.folder / name).stat().st_size:>14,} bytes  {name}")


def verify(
    file: File, fresh_environment: Fresh = False, trust_source: TrustSource = False, as_json: AsJson = False
) -> None:
    from dataflows.research.bundles.verification import this_workplace, verify_bundle
    from deploy.fresh_workplace import fresh_workplace

    prepare = fresh_workplace if fresh_environment else this_workplace
    _report(verify_bundle(file, prepare=prepare, trust_source=trust_source), as_json=as_json)


def _report(verification: Verification, *, as_json: bool) -> None:
    """Print the result. Raises DeployError if something differs."""
    name = f"{verification.kind} {verification.run}"
    if as_json:
        print(json.dumps(verification._asdict(), indent=2))
    for note in verification.notes:
        print(f"note: {note}", file=sys.stderr)
    if verification.difference is not None:
        raise DeployError(f"{name} is not reproduced. First difference: {verification.difference}")
    if not as_json:
        print(f"reproduced {name}: decision hash {verification.decision_hash}")
