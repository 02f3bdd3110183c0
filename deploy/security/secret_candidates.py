"""Print the files in which a detector of detect-secrets finds something, as a JSON list of paths.

`scanners` runs this program in the folder to scan, and then runs detect-secrets on the printed files only.
detect-secrets passes every line through its filters, which takes most of its time and only removes findings. In most
files, the detectors alone find nothing, so filters need not run there. The result is the same in a third of the time.

Arguments: the patterns of the files to exclude. `--all-files` includes the files outside version control.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from detect_secrets.core import scan
from detect_secrets.core.plugins import initialize
from detect_secrets.plugins.base import BasePlugin
from detect_secrets.settings import default_settings

_VERIFICATION = "detect_secrets.filters.common.is_ignored_due_to_verification_policies"
_EXCLUSION = "detect_secrets.filters.regex.should_exclude_file"


def candidates(files: Iterable[str], excluded: list[str]) -> list[str]:
    """Return the files with a finding of any detector, in order."""
    with default_settings() as settings:
        settings.disable_filters(_VERIFICATION)  # a request to the service that issued a key; detect-secrets sends it
        settings.filters[_EXCLUSION] = {"pattern": excluded}
        plugins: list[BasePlugin] = [initialize.from_plugin_classname(name) for name in settings.plugins]
        return [file for file in files if not _is_excluded(file) and _has_finding(file, plugins)]


def _is_excluded(file: str) -> bool:
    return bool(scan._is_filtered_out(required_filter_parameters=["filename"], filename=file))


def _has_finding(file: str, plugins: list[BasePlugin]) -> bool:
    """Return whether a detector finds something in a line, in any of the forms in which detect-secrets reads a file."""
    try:
        return any(
            plugin.analyze_line(filename=file, line=line.rstrip(), line_number=number)
            for lines in scan._get_lines_from_file(file)
            for number, line in enumerate(lines, start=1)
            for plugin in plugins
        )
    except OSError:
        return True  # let detect-secrets decide


if __name__ == "__main__":
    options = sys.argv[1:]
    files_to_scan = scan.get_files_to_scan(".", should_scan_all_files="--all-files" in options)
    print(json.dumps(candidates(files_to_scan, [option for option in options if option != "--all-files"])))
