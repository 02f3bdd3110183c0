"""What a live process does when its stages apply a configuration: check the user's files, and report it."""

from __future__ import annotations

import json
from pathlib import Path

import structlog

from configs.configuration_publishing import newest_of
from configs.recorded_settings import host_hashes
from configs.settings import Settings
from dataflows.runtime.configured_stage import OnApplied, observe_configurations
from schemas.errors import BadInput
from schemas.records import Configuration

log = structlog.get_logger(__name__)


def observe_live_stages(settings: Settings, on_applied: OnApplied, run_dir: Path | None) -> None:
    """Make every stage of this process check the files of this host, and report the configurations that it applies.

    With `start --dev`, files can change at any time and are not checked.
    """
    is_dev = run_dir is not None and _runs_in_dev_mode(run_dir)

    def check_sources(configuration: Configuration) -> None:
        if not is_dev:
            require_host_files(configuration, settings)

    observe_configurations(check_sources, on_applied)


def _runs_in_dev_mode(run_dir: Path) -> bool:
    try:
        return bool(json.loads((run_dir / "state.json").read_text()).get("dev"))
    except (OSError, ValueError):
        return False  # no supervisor, as in containers


def require_host_files(configuration: Configuration, settings: Settings) -> None:
    """Raises BadInput if a strategy or indicator file of this host differs from that of the configuration.

    A file that equals that of the newest configuration is accepted: a process that restarts after an edit may still
    have to process time slices from before the edit. Raises Unavailable if the newest configuration cannot be read.
    """
    found = host_hashes(configuration.source_sha256)
    changed = {path: sha256 for path, sha256 in configuration.source_sha256.items() if found[path] != sha256}
    if not changed:
        return
    newest = newest_of(settings)
    for path, sha256 in changed.items():
        if newest.source_sha256.get(path) != found[path]:
            raise BadInput(
                f"file {path} of this host is not that of {configuration.configuration_id}: expected sha256 "
                f"{sha256[:12]}, found {found[path][:12] or 'no file'}; put the file back, or run `python cli.py "
                "restart`, which records the present one"
            )
    log.warning(
        "changed files also process time slices from before the last start",
        files=sorted(changed),
        configuration=configuration.configuration_id,
    )
