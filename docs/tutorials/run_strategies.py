"""Backtest each trading strategy of the platform on the bars of make_bars.py, and print a table of the results.

A week is too short for strategies that select symbols once a month, so their parameters here are as short as possible.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

PARAMETERS = {
    "bollinger_reversion": {"interval": "15m"},
    "cross_sectional_momentum": {"lookback": 2, "skip": 1, "top": 1},
    "donchian_turtle": {"interval": "15m"},
    "dual_momentum": {"risky": ["AAPL"], "safe": "MSFT", "lookback": 2},
    "grid": {},
    "macd_trend": {"interval": "15m"},
    "moving_average_ribbon": {"interval": "15m"},
    "opening_range_breakout": {},
    "overnight_intraday": {},
    "pairs_reversion": {"symbols": ["AAPL", "MSFT"]},
    "risk_parity": {"period": 2},
}
LIMITS = {
    "portfolio_manager": {"max_position_percentage": 1, "allow_short": True},
    "risk_manager": dict.fromkeys(
        ("max_order_notional", "max_position", "max_position_size", "max_daily_loss", "circuit_breaker_threshold"),
        "unlimited",
    ),
}
COMMAND = [sys.executable, "cli.py", "backtest", "--bars", "bars/"]


def main() -> None:
    print("| strategy | fills | rejections | fees | total return | largest drawdown |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        settings, results = Path(folder, "settings.yaml"), Path(folder, "results.json")
        for name, parameters in PARAMETERS.items():
            strategies = {"strategies": [{"name": name, "parameters": parameters}]}
            settings.write_text(json.dumps({**LIMITS, "signals": strategies}))  # JSON is YAML
            command = [*COMMAND, "--settings", str(settings), "--json", str(results)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            run = json.loads(results.read_text())
            figures = f"{float(run['fees']):.0f} | {float(run['total_return']):.2%} | {float(run['max_drawdown']):.2%}"
            print(f"| `{name}` | {run['fills']} | {run['refusals']} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
