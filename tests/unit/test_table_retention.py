"""How many days of each table stay in the database."""

from __future__ import annotations

from configs.settings import Settings, load_settings
from deploy.archive.create_archive import table_retention

TOPICS = {"bars": "market-bars", "quotes": "market-quotes", "trades": "market-trades"}


def settings(**risk_manager: object) -> Settings:
    base = load_settings(environment={}).model_dump()
    return Settings.model_validate(base | {"risk_manager": risk_manager})


def test_by_default_the_database_holds_the_days_that_kafka_holds() -> None:
    loaded = load_settings(environment={})
    expected = {table: loaded.kafka.retention[TOPICS.get(table, table)] for table in table_retention(loaded)}
    assert table_retention(loaded) == loaded.database.postgres.retention == expected
    assert "valuations" not in expected and "bars" in expected


def test_bars_stay_as_long_as_a_limit_of_risk_needs_them() -> None:
    assert table_retention(settings(max_volume_share=0.1, volume_days=60))["bars"] == 100
    retention = table_retention(settings(max_expected_shortfall="0.05"))
    assert retention["bars"] == 386  # 251 trading days are a year
    assert retention["features"] == 30
