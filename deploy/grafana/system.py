"""The System dashboard: health, database, message queue, resources."""

from deploy.grafana.panels import BARS, NUMBER, DashboardSpec, Panel, PanelRow, Query

RATE, SHARE, BYTES, SECONDS = "ops", "percentunit", "bytes", "s"
DOWN, PROCESS = "count(platform_service_up == 0)", "platform_process"


def _quantiles(metric: str, by: str = "") -> list[Query]:
    return [
        Query(f"histogram_quantile({q}, sum by (le{by}) (rate({metric}_bucket[5m])))", f"p{q * 100:.0f}")
        for q in (0.5, 0.99)
    ]


BOARD = DashboardSpec(
    "trading-system",
    "System",
    "Health and lag of the services, database, message queue, resources.",
    [
        PanelRow(
            "Health",
            [
                Panel(
                    "Services down",
                    [Query("count(platform_service_up == 0) or vector(0)")],
                    "short",
                    NUMBER,
                    warn=0.5,
                    critical=1,
                ),
                Panel("PostgreSQL", [Query("platform_database_up")], "bool_on_off", NUMBER, warn=1, critical=0.5),
                Panel("Kafka", [Query("platform_kafka_up")], "bool_on_off", NUMBER, warn=1, critical=0.5),
                Panel("Redis", [Query("platform_redis_up")], "bool_on_off", NUMBER, warn=1, critical=0.5),
                Panel("Degraded", [Query("platform_degraded")], "bool", NUMBER, warn=0.5, critical=1),
                Panel("Feed finished", [Query("platform_dataflow_feed_finished")], "bool", NUMBER),
                Panel("Up", [Query("platform_service_up", "{{service}}")]),
                Panel("Uptime", [Query("platform_dataflow_uptime_seconds", "{{service}}")], SECONDS, BARS),
                Panel("Restarts", [Query("platform_service_restarts_total", "{{service}}")], "short", BARS),
                Panel(
                    "Lag behind the feed",
                    [Query("platform_dataflow_event_lag_seconds", "{{service}}")],
                    SECONDS,
                    description="In event time.",
                ),
                Panel(
                    "Time since the last time slice", [Query("platform_dataflow_still_seconds", "{{service}}")], SECONDS
                ),
                Panel("Lag behind real time", [Query("platform_dataflow_wall_lag_seconds", "{{service}}")], SECONDS),
                Panel("Age of the statistics", [Query("platform_dataflow_report_age_seconds", "{{service}}")], SECONDS),
                Panel(
                    "Checks passed",
                    [Query("platform_check_ok", "{{check}}")],
                    "bool_on_off",
                    BARS,
                    warn=1,
                    critical=0.5,
                ),
                Panel(
                    "Time since the last check",
                    [Query("time() - platform_check_finished_timestamp_seconds", "{{check}}")],
                    SECONDS,
                ),
            ],
        ),
        PanelRow(
            "Records",
            [
                Panel("Records in", [Query("rate(platform_dataflow_records_in_total[1m])", "{{service}}")], RATE),
                Panel("Records out", [Query("rate(platform_dataflow_records_out_total[1m])", "{{service}}")], RATE),
                Panel("Time slices", [Query("rate(platform_dataflow_ticks_total[1m])", "{{service}}")], RATE),
                Panel("Dead letters", [Query("increase(platform_dataflow_dead_letters_total[5m])", "{{service}}")]),
                Panel("Late records", [Query("increase(platform_dataflow_late_records_total[5m])", "{{service}}")]),
                Panel(
                    "Duplicates dropped, and sequence gaps",
                    [
                        Query("increase(platform_dataflow_duplicates_total[5m])", "{{service}} duplicates"),
                        Query("increase(platform_dataflow_seq_gaps_total[5m])", "{{service}} gaps"),
                    ],
                ),
            ],
        ),
        PanelRow(
            "Database",
            [
                Panel("Latency of a small query", [Query("platform_database_query_seconds", "latency")], SECONDS),
                Panel("Latency of API statements", _quantiles("platform_database_statement_seconds"), SECONDS),
                Panel(
                    "API statements", [Query("rate(platform_database_statement_seconds_count[1m])", "statements")], RATE
                ),
                Panel(
                    "Transactions",
                    [
                        Query("rate(platform_database_commits_total[1m])", "committed"),
                        Query("rate(platform_database_rollbacks_total[1m])", "rolled back"),
                    ],
                    RATE,
                ),
                Panel("Rows written", [Query("rate(platform_database_rows_written_total[1m])", "rows")], RATE),
                Panel("Sessions", [Query("platform_database_connections", "{{state}}")], stacked=True),
                Panel("Size", [Query("platform_database_size_bytes", "database")], BYTES),
                Panel("Largest tables", [Query("topk(8, platform_database_table_bytes)", "{{table}}")], BYTES, BARS),
                Panel("Most rows", [Query("topk(8, platform_database_table_rows)", "{{table}}")], "short", BARS),
                Panel("Cache hit ratio", [Query("platform_database_cache_hit_ratio", "blocks")], SHARE),
                Panel("Deadlocks", [Query("increase(platform_database_deadlocks_total[1h])", "last hour")]),
            ],
        ),
        PanelRow(
            "Message queue",
            [
                Panel(
                    "Throughput",
                    [Query("sum by (topic) (rate(platform_kafka_log_end_offset[1m]))", "{{topic}}")],
                    RATE,
                ),
                Panel(
                    "Lag",
                    [Query("platform_kafka_service_lag_messages", "{{service}}")],
                    description="Messages that no snapshot covers yet; one second of messages is normal.",
                ),
                Panel(
                    "Lag by topic",
                    [Query("topk(8, platform_kafka_consumer_lag_messages)", "{{service}} {{topic}}")],
                    "short",
                    BARS,
                ),
                Panel("Redis commands", [Query("rate(platform_redis_commands_total[1m])", "commands")], RATE),
                Panel("Redis memory", [Query("platform_redis_memory_bytes", "memory")], BYTES),
                Panel("Redis connections", [Query("platform_redis_clients", "connections")]),
            ],
        ),
        PanelRow(
            "API",
            [
                Panel(
                    "Requests",
                    [Query("sum by (status) (rate(platform_api_request_seconds_count[1m]))", "{{status}}")],
                    RATE,
                ),
                Panel("Request latency", _quantiles("platform_api_request_seconds"), SECONDS),
                Panel(
                    "Open streams, and requests throttled",
                    [
                        Query("platform_api_streams", "open streams"),
                        Query(
                            "sum(increase(platform_api_rate_limited_total[5m])) or vector(0)",
                            "throttled in 5 min",
                        ),
                    ],
                ),
            ],
        ),
        PanelRow(
            "Resources",
            [
                Panel("CPU", [Query("rate(platform_process_cpu_seconds_total[1m])", "{{service}}")], stacked=True),
                Panel("Memory", [Query("platform_process_resident_memory_bytes", "{{service}}")], BYTES, stacked=True),
                Panel(
                    "Machine",
                    [
                        Query("rate(platform_host_cpu_busy_seconds_total[1m]) / platform_host_cpus", "CPU"),
                        Query(
                            '1 - platform_host_memory_bytes{state="available"}'
                            ' / on () platform_host_memory_bytes{state="total"}',
                            "memory",
                        ),
                        Query(
                            '1 - platform_host_disk_bytes{state="free"}'
                            ' / on () platform_host_disk_bytes{state="total"}',
                            "disk",
                        ),
                    ],
                    SHARE,
                ),
                Panel(
                    "Metrics page",
                    [Query("platform_metrics_read_seconds", "{{part}}")],
                    SECONDS,
                    description="Time to collect each part of the page.",
                ),
                Panel(
                    "Unreadable parts of the metrics page",
                    [Query("count(platform_metrics_readable == 0) or vector(0)", "parts")],
                ),
            ],
        ),
    ],
)
