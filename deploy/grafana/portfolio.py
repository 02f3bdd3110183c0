"""The Portfolio dashboard: value and profit, what is held, the periods, risk and exposure."""

from deploy.grafana.panels import BARS, NUMBER, PIE, DashboardSpec, Panel, PanelRow, Query

MONEY, SHARE = "currencyUSD", "percentunit"
TODAY = 'platform_portfolio_pnl{window="day"}'

BOARD = DashboardSpec(
    "trading-portfolio",
    "Portfolio",
    "Value and profit, positions, periods, risk and exposure, as of the last valuation.",
    [
        PanelRow(
            "Value and profit",
            [
                Panel("Portfolio value", [Query("platform_portfolio_value")], MONEY, NUMBER),
                Panel("Cash", [Query("platform_portfolio_cash")], MONEY, NUMBER),
                Panel(
                    "Profit today",
                    [Query('platform_portfolio_pnl{window="day"}')],
                    MONEY,
                    NUMBER,
                    warn=0,
                    critical=-5000,
                ),
                Panel("Unrealised", [Query("platform_portfolio_unrealized_pnl")], MONEY, NUMBER),
                Panel("Realised, before fees", [Query("platform_portfolio_realized_pnl")], MONEY, NUMBER),
                Panel("Fees", [Query("platform_portfolio_fees")], MONEY, NUMBER),
                Panel(
                    "Value over time",
                    [
                        Query("platform_portfolio_value", "value"),
                        Query("platform_portfolio_peak_value", "highest so far"),
                    ],
                    MONEY,
                ),
                Panel(
                    "Profit over time",
                    [
                        Query("platform_portfolio_unrealized_pnl", "unrealised"),
                        Query("platform_portfolio_realized_pnl - platform_portfolio_fees", "realised, net of fees"),
                    ],
                    MONEY,
                ),
                Panel("Profit today over time", [Query(TODAY, "today")], MONEY),
            ],
        ),
        PanelRow(
            "Positions",
            [
                Panel("By symbol", [Query("abs(platform_position_value)", "{{symbol}}")], MONEY, PIE),
                Panel("By sector", [Query("sum by (sector) (abs(platform_position_value))", "{{sector}}")], MONEY, PIE),
                Panel(
                    "Share of equity",
                    [Query("sort_desc(platform_position_share_ratio)", "{{symbol}}")],
                    SHARE,
                    BARS,
                    warn=0.1,
                    critical=0.15,
                ),
                Panel("Value by symbol", [Query("platform_position_value", "{{symbol}}")], MONEY, stacked=True),
                Panel("Unrealised by symbol", [Query("platform_position_unrealized_pnl", "{{symbol}}")], MONEY),
                Panel("Symbols held", [Query("platform_position_count", "symbols")]),
            ],
        ),
        PanelRow(
            "Day, week and month",
            [
                Panel(
                    "Return",
                    [Query("platform_portfolio_return_ratio", "{{window}}")],
                    SHARE,
                    description="Since the day, the week (Monday) and the month began at the exchange.",
                ),
                Panel("Profit", [Query("platform_portfolio_pnl", "{{window}}")], MONEY),
                Panel("Return now", [Query("platform_portfolio_return_ratio", "{{window}}")], SHARE, BARS),
            ],
        ),
        PanelRow(
            "Risk and exposure",
            [
                Panel("Drawdown", [Query("platform_portfolio_drawdown_ratio", "drawdown")], SHARE),
                Panel(
                    "Exposure",
                    [
                        Query("platform_portfolio_gross_exposure", "gross"),
                        Query("platform_portfolio_net_exposure", "net"),
                        Query("platform_portfolio_cash", "cash"),
                    ],
                    MONEY,
                ),
                Panel("Leverage", [Query("platform_portfolio_leverage_ratio", "gross exposure over equity")]),
                Panel(
                    "Use of limits",
                    [Query('platform_risk_limit_usage_ratio{symbol=""}', "{{measure}}")],
                    SHARE,
                    BARS,
                    warn=0.6,
                    critical=0.8,
                ),
                Panel(
                    "Use of the position limit",
                    [Query('platform_risk_limit_usage_ratio{symbol!=""}', "{{symbol}} {{measure}}")],
                    SHARE,
                    BARS,
                    warn=0.6,
                    critical=0.8,
                ),
                Panel("Trading halted", [Query("platform_trading_halted")], "bool", NUMBER, warn=0.5, critical=1),
                Panel(
                    "Breakers open", [Query("platform_circuit_breakers_open")], "short", NUMBER, warn=0.5, critical=1
                ),
            ],
        ),
    ],
)
