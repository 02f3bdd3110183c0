"""The Portfolio dashboard: value and P&L, positions, returns by period, risk and exposure."""

from deploy.grafana.panels import BARS, NUMBER, PIE, TRADING_STATE_PANELS, DashboardSpec, Panel, PanelRow, Query

MONEY, SHARE = "currencyUSD", "percentunit"
TODAY = 'platform_portfolio_pnl{window="day"}'

BOARD = DashboardSpec(
    "trading-portfolio",
    "Portfolio",
    "Value and P&L, positions, returns by period, risk and exposure, as of the last valuation.",
    [
        PanelRow(
            "Value and P&L",
            [
                Panel("Portfolio value", [Query("platform_portfolio_value")], MONEY, NUMBER),
                Panel("Cash", [Query("platform_portfolio_cash")], MONEY, NUMBER),
                Panel(
                    "P&L today",
                    [Query('platform_portfolio_pnl{window="day"}')],
                    MONEY,
                    NUMBER,
                    warn=0,
                    critical=-5000,
                ),
                Panel("Unrealized P&L", [Query("platform_portfolio_unrealized_pnl")], MONEY, NUMBER),
                Panel("Realized P&L before fees", [Query("platform_portfolio_realized_pnl")], MONEY, NUMBER),
                Panel("Fees", [Query("platform_portfolio_fees")], MONEY, NUMBER),
                Panel(
                    "Value over time",
                    [
                        Query("platform_portfolio_value", "value"),
                        Query("platform_portfolio_peak_value", "peak"),
                    ],
                    MONEY,
                ),
                Panel(
                    "P&L over time",
                    [
                        Query("platform_portfolio_unrealized_pnl", "unrealized"),
                        Query("platform_portfolio_realized_pnl - platform_portfolio_fees", "realized, net of fees"),
                    ],
                    MONEY,
                ),
                Panel("P&L today over time", [Query(TODAY, "today")], MONEY),
            ],
        ),
        PanelRow(
            "Positions",
            [
                Panel("Value by symbol (absolute)", [Query("abs(platform_position_value)", "{{symbol}}")], MONEY, PIE),
                Panel(
                    "Value by sector (absolute)",
                    [Query("sum by (sector) (abs(platform_position_value))", "{{sector}}")],
                    MONEY,
                    PIE,
                ),
                Panel(
                    "Share of equity",
                    [Query("sort_desc(platform_position_share_ratio)", "{{symbol}}")],
                    SHARE,
                    BARS,
                    warn=0.1,
                    critical=0.15,
                ),
                Panel(
                    "Value by symbol over time", [Query("platform_position_value", "{{symbol}}")], MONEY, stacked=True
                ),
                Panel("Unrealized P&L by symbol", [Query("platform_position_unrealized_pnl", "{{symbol}}")], MONEY),
                Panel("Open positions", [Query("platform_position_count", "symbols")]),
            ],
        ),
        PanelRow(
            "Day, week and month",
            [
                Panel(
                    "Return",
                    [Query("platform_portfolio_return_ratio", "{{window}}")],
                    SHARE,
                    description="Since the start of the day, week (Monday) and month in exchange time.",
                ),
                Panel("P&L", [Query("platform_portfolio_pnl", "{{window}}")], MONEY),
                Panel("Current return", [Query("platform_portfolio_return_ratio", "{{window}}")], SHARE, BARS),
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
                Panel("Leverage", [Query("platform_portfolio_leverage_ratio", "gross exposure / equity")]),
                Panel(
                    "Limit usage",
                    [Query('platform_risk_limit_usage_ratio{symbol=""}', "{{measure}}")],
                    SHARE,
                    BARS,
                    warn=0.6,
                    critical=0.8,
                ),
                Panel(
                    "Position limit usage",
                    [Query('platform_risk_limit_usage_ratio{symbol!=""}', "{{symbol}} {{measure}}")],
                    SHARE,
                    BARS,
                    warn=0.6,
                    critical=0.8,
                ),
                *TRADING_STATE_PANELS,
            ],
        ),
    ],
)
