"""`create-service`: generate a new dataflow that reads bars, with its wiring and its test."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.home import REPOSITORY
from deploy.service_template import create_service

Name = Annotated[str, typer.Argument(help="Name of the dataflow, such as order_flow.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("create-service", help="Generate a new dataflow: stage, wiring, registration and test.")(create)


def create(name: Name, as_json: AsJson = False) -> None:
    created = create_service(REPOSITORY, name)
    if as_json:
        print(json.dumps(created._asdict(), indent=2))
        return
    for path in created.new:
        print(f"new      {path}")
    for path in created.changed:
        print(f"changed  {path}")
    print("The new service reads bars, keeps the last close of each symbol and publishes nothing. Next steps:")
    print(f"  run its test: python cli.py test {created.new[-1]}")
    print("  add an output topic: docs/howto/topic.md, then `outputs` in dataflows/runtime/topology.py")
    print("  change its inputs and logic: docs/howto/dataflow.md")
