"""The Trading dashboard: order flow, fill rates and slippage, results of strategies and models, market impact."""

from deploy.grafana.panels import BARS, NUMBER, TRADING_STATE_PANELS, DashboardSpec, Panel, PanelRow, Query

RATE, SHARE, BPS = "ops", "percentunit", "none"

BOARD = DashboardSpec(
    "trading-trading",
    "Trading",
    "Order flow and executions, fill rates and slippage, results of each strategy, market impact.",
    [
        PanelRow(
            "Order flow and executions",
            [
                Panel("Orders", [Query("sum(platform_orders_total)")], "short", NUMBER),
                Panel("Fills", [Query('sum(platform_executions_total{exec_type="TRADE"})')], "short", NUMBER),
                Panel("Rejections", [Query("sum(platform_order_refusals_total)")], "short", NUMBER),
                Panel("Cancels", [Query("platform_order_cancels_total")], "short", NUMBER),
                Panel(
                    "Rejection rate", [Query("platform_order_rejection_ratio")], SHARE, NUMBER, warn=0.02, critical=0.05
                ),
                Panel("Orders in the rejection rate", [Query("platform_order_decisions")], "short", NUMBER),
                Panel(
                    "Orders by type and side",
                    [Query("sum by (order_type, side) (rate(platform_orders_total[1m]))", "{{order_type}} {{side}}")],
                    RATE,
                ),
                Panel(
                    "Execution reports by type",
                    [Query("sum by (exec_type) (rate(platform_executions_total[1m]))", "{{exec_type}}")],
                    RATE,
                ),
                Panel(
                    "Rejections by check",
                    [Query("sum by (check) (rate(platform_order_refusals_total[1m]))", "{{check}}")],
                    RATE,
                ),
            ],
        ),
        PanelRow(
            "Fill rates, latency and slippage",
            [
                Panel(
                    "Ended orders by outcome",
                    [Query("sum by (outcome) (platform_orders_ended_total)", "{{outcome}}")],
                    "short",
                    BARS,
                ),
                Panel(
                    "Fill rate",
                    [
                        Query(
                            'sum(platform_orders_ended_total{outcome="FILLED"}) / sum(platform_orders_ended_total)',
                            "of ended orders",
                        )
                    ],
                    SHARE,
                ),
                Panel(
                    "Winning lots",
                    [
                        Query(
                            'sum by (strategy) (platform_closed_lots_total{result="won"})'
                            " / sum by (strategy) (platform_closed_lots_total)",
                            "{{strategy}}",
                        )
                    ],
                    SHARE,
                ),
                Panel(
                    "Time from approval to fill",
                    [
                        Query(
                            f"histogram_quantile({q}, sum by (le) (rate(platform_order_to_fill_seconds_bucket[5m])))",
                            f"p{q * 100:.0f}",
                        )
                        for q in (0.5, 0.99)
                    ],
                    "s",
                    description="In event time. With one-minute bars, an order fills at the bar of the next minute.",
                ),
                Panel(
                    "Slippage",
                    [
                        Query("platform_slippage_bps", "quantile {{quantile}}"),
                        Query("platform_slippage_mean_bps", "mean"),
                    ],
                    BPS,
                    description="Basis points against the proposal's reference price; the last 500 fills.",
                ),
                Panel(
                    "Notional traded",
                    [Query("sum by (strategy) (rate(platform_strategy_notional_total[1m]))", "{{strategy}}")],
                    "currencyUSD",
                    description="Per second.",
                ),
            ],
        ),
        PanelRow(
            "By strategy",
            [
                Panel(
                    "Total P&L by strategy",
                    [Query("platform_strategy_total_pnl", "{{strategy}}")],
                    "currencyUSD",
                    description="Net of fees, with dividends and interest. The sum equals the ledger's.",
                ),
                *(
                    Panel(
                        title,
                        [Query(f'platform_strategy_attributed_pnl{{part="{part}"}}', "{{strategy}}")],
                        "currencyUSD",
                        BARS,
                    )
                    for title, part in (
                        ("Realized P&L before fees", "realized"),
                        ("Unrealized P&L", "unrealized"),
                        ("Fees", "fees"),
                        ("Dividends and interest", "cash_flows"),
                    )
                ),
                Panel("Learned weight", [Query("platform_strategy_weight", "{{strategy}}")], SHARE, stacked=True),
                Panel(
                    "Hit rate of signals",
                    [
                        Query(
                            'sum by (strategy) (platform_signal_outcomes_total{result="won"})'
                            ' / sum by (strategy) (platform_signal_outcomes_total{result!="flat"})',
                            "{{strategy}}",
                        )
                    ],
                    SHARE,
                    description="Net of costs and of the market's move within the horizon.",
                ),
                Panel(
                    "Evaluated signals",
                    [Query("sum by (strategy) (platform_signal_outcomes_total)", "{{strategy}}")],
                    "short",
                    BARS,
                ),
            ],
        ),
        PanelRow(
            "Trading strategies",
            [
                Panel(
                    "Equity",
                    [Query("platform_strategy_equity", "{{strategy}}")],
                    "currencyUSD",
                    description="Of the strategy's sub-account.",
                ),
                Panel(
                    "P&L",
                    [Query("platform_strategy_equity - platform_strategy_capital", "{{strategy}}")],
                    "currencyUSD",
                    description="Equity less capital: realized and unrealized P&L, net of fees.",
                ),
                Panel("Open positions", [Query("platform_strategy_open_positions", "{{strategy}}")], "short"),
                Panel(
                    "Actions by kind",
                    [Query("sum by (strategy, kind) (platform_strategy_actions_total)", "{{strategy}} {{kind}}")],
                    "short",
                    BARS,
                    description="Orders, amendments, cancels, targets, notes, suspensions and resumes.",
                ),
                Panel(
                    "Orders rejected by risk",
                    [Query("platform_strategy_refusals_total", "{{strategy}}")],
                    "short",
                    BARS,
                ),
                Panel(
                    "Suspended strategies",
                    [Query("count(platform_strategy_suspended) or vector(0)", "suspended")],
                    "short",
                ),
                Panel(
                    "Processor time of a time slice",
                    [
                        Query(
                            'rate(platform_process_cpu_seconds_total{service="strategies"}[5m])'
                            ' / rate(platform_dataflow_ticks_total{service="strategies"}[5m])',
                            "all trading strategies",
                        )
                    ],
                    "s",
                ),
            ],
        ),
        PanelRow(
            "Orders and closed lots by strategy",
            [
                Panel(
                    "Realized P&L by strategy",
                    [Query("platform_strategy_realized_pnl", "{{strategy}}")],
                    "currencyUSD",
                    description="Of the lots that the strategy's orders closed, net of fees.",
                ),
                Panel("Fills by strategy", [Query("platform_strategy_fills_total", "{{strategy}}")], "short", BARS),
                Panel("Fees by strategy", [Query("platform_strategy_fees", "{{strategy}}")], "currencyUSD", BARS),
                Panel(
                    "Mean P&L of a closed lot",
                    [
                        Query(
                            "platform_strategy_realized_pnl / on (strategy)"
                            " (sum by (strategy) (platform_closed_lots_total) > 0)",
                            "{{strategy}}",
                        )
                    ],
                    "currencyUSD",
                ),
                Panel(
                    "Signals",
                    [Query('rate(platform_dataflow_records_out_total{service="signals"}[1m])', "signals per second")],
                    RATE,
                ),
            ],
        ),
        PanelRow(
            "Market impact",
            [
                Panel(
                    "Slippage by size",
                    [Query("platform_market_impact_bps", "{{participation}}")],
                    BPS,
                    BARS,
                    description="Mean slippage in basis points, by the share of the bar's volume that a fill took.",
                ),
                Panel("Slippage by size over time", [Query("platform_market_impact_bps", "{{participation}}")], BPS),
                Panel(
                    "Share of the bar's volume",
                    [Query("platform_fill_participation_ratio", "quantile {{quantile}}")],
                    SHARE,
                ),
            ],
        ),
        PanelRow(
            "Models",
            [
                Panel(
                    "Registered models",
                    [Query("platform_model_info", "{{model}} {{sha256}} {{status}}")],
                    "short",
                    BARS,
                ),
                Panel(
                    "Age of the training data",
                    [Query("time() - platform_model_trained_until_timestamp_seconds", "{{model}} {{sha256}}")],
                    "s",
                    BARS,
                ),
                Panel(
                    "Forecasts",
                    [
                        Query('rate(platform_dataflow_records_out_total{service="predictions"}[1m])', "per second"),
                        Query("platform_predictions_last_tick", "in the last time slice"),
                    ],
                ),
                Panel(
                    "Evaluated forecasts",
                    [Query("platform_model_predictions_judged", "{{model}} {{sha256}}")],
                    "short",
                    BARS,
                ),
                Panel("Hit rate of forecasts", [Query("platform_model_hit_rate_ratio", "{{model}} {{sha256}}")], SHARE),
                Panel("Brier score", [Query("platform_model_brier_score", "{{model}} {{sha256}}")], BPS),
                Panel(
                    "Drift",
                    [
                        Query("platform_model_drift", "{{model}} {{sha256}}, highest"),
                        Query("max(platform_prediction_drift)", "highest in the last time slice"),
                    ],
                    SHARE,
                    description="0: as in training; 1: certain drift.",
                ),
            ],
        ),
        PanelRow(
            "Halts",
            [
                *TRADING_STATE_PANELS,
                Panel(
                    "Circuit breakers tripped",
                    [Query("increase(platform_circuit_breaker_activations_total[1h])", "{{breaker}}")],
                    description="In the last hour.",
                ),
            ],
        ),
    ],
)
