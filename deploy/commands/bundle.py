"""`bundle`: pack a saved run with everything that reproduces it, show a bundle, and reproduce it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.text_outputs import require_output
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from dataflows.research.bundles.verification import Verification

Run = Annotated[str, typer.Argument(help="Name of a run, as `runs list` prints it.")]
File = Annotated[Path, typer.Argument(help="Bundle.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write. By default, RUN.bundle.")]
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
    group.command("create", help="Pack a saved run with data, source, settings, lock and commit.")(create)
    group.command("show", help="List the parts of a bundle, or print its strategy code.")(show)
    group.command("verify", help="Reproduce a bundle, and name the first thing that differs.")(verify)
    app.add_typer(group, name="bundle")


def create(run: Run, output: Output = None, references: References = False, no_check: NoCheck = False) -> None:
    from dataflows.research.bundles.bundle_contents import create_bundle
    from dataflows.research.bundles.verification import verify_bundle
    from dataflows.research.stored_results import load_run
    from dataflows.research.trial_ledger import TrialLedger

    target = output or Path(f"{run}.bundle")
    require_output("--output", target)
    try:
        ledger = TrialLedger(home_from_environment().trial_ledger)
        create_bundle(load_run(run), target, ledger, with_data=not references)
    except Unavailable as error:
        raise DeployError(str(error)) from error
    print(f"wrote {target} ({target.stat().st_size:,} bytes)")
    if not no_check:
        _report(verify_bundle(target, trust_source=True), as_json=False)


def show(file: File, source: Source = False) -> None:
    from dataflows.research.bundles.bundle_file import COMMIT, RESULT, read_bundle

    with TemporaryDirectory(prefix="bundle-") as folder:
        bundle = read_bundle(file, Path(folder))
        if source:
            for name in [name for name, kind in bundle.kinds.items() if kind == "source"]:
                print(f"# {name}\n{bundle.text(name)}")
            return
        result, commit = bundle.json(RESULT), bundle.json(COMMIT)
        print(f"run {result['name']} of {', '.join(result['strategies']) or 'orders'}")
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
    if as_json:
        print(json.dumps(verification._asdict(), indent=2))
    for note in verification.notes:
        print(f"note: {note}", file=sys.stderr)
    if verification.difference is not None:
        raise DeployError(f"run {verification.run} is not reproduced. First difference: {verification.difference}")
    if not as_json:
        print(f"reproduced run {verification.run}: decision hash {verification.decision_hash}")
