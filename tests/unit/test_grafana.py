"""The committed dashboards match the generated dashboards."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from deploy.grafana.panels import DATASOURCE
from deploy.grafana.write import BOARDS, FOLDER, dashboard_texts


@pytest.mark.parametrize("name", BOARDS)
def test_the_committed_dashboard_is_what_the_code_writes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == dashboard_texts()[name], "run python -m deploy.grafana.write"
    assert {path.stem for path in FOLDER.glob("*.json")} == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap_and_use_the_provisioned_source(name: str) -> None:
    panels: list[dict[str, Any]] = json.loads(dashboard_texts()[name])["panels"]
    occupied: set[tuple[int, int]] = set()
    for panel in panels:
        position = panel["gridPos"]
        cells = {(position["x"] + x, position["y"] + y) for x in range(position["w"]) for y in range(position["h"])}
        assert not cells & occupied and max(x for x, _ in cells) < 24, panel["title"]
        occupied |= cells
        if panel["type"] != "row":
            assert panel["targets"] and all(target["expr"] for target in panel["targets"]), panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = yaml.safe_load((FOLDER.parent / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [source["uid"] for source in sources["datasources"]] == [DATASOURCE.uid]
