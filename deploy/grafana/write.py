"""Write the dashboards' JSON files, which Grafana reads: `python -m deploy.grafana.write`."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import portfolio, system, trading
from deploy.grafana.panels import build_dashboard

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = {"portfolio": portfolio.BOARD, "trading": trading.BOARD, "system": system.BOARD}


def dashboard_texts() -> dict[str, str]:
    """Return the JSON of each dashboard, by file name without extension."""
    return {
        name: JSONEncoder(sort_keys=True, indent=2).encode(build_dashboard(board)) + "\n"
        for name, board in BOARDS.items()
    }


if __name__ == "__main__":
    for name, text in dashboard_texts().items():
        (FOLDER / f"{name}.json").write_text(text)
