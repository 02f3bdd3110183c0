"""The use of the disk and its forecast: by topic and folder, over restarts of the API and after a clean-up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.metrics.disk import DiskMetrics
from deploy.disk_usage import largest, read_disk_usage
from deploy.home import Home
from operators.disk_forecast import DAY_S, SAMPLES_MAX, DiskSample, add_sample, days_left, growth_per_day

HOUR_S = 3600.0


def test_the_growth_does_not_depend_on_a_clean_up_or_a_large_file() -> None:
    """Growth of 10 MB an hour; a backup adds 5 GB on the second day, which is deleted on the fourth."""
    samples = []
    for hour in range(7 * 24):
        backup = 5_000_000_000 if 30 <= hour < 80 else 0
        samples.append(DiskSample(hour * HOUR_S, 10_000_000 * hour + backup))
    growth = growth_per_day(samples)
    assert growth is not None and growth == pytest.approx(240_000_000, rel=0.05)
    assert days_left(growth, 4_320_000_000) == pytest.approx(18.0, rel=0.05)


def test_a_shrinking_disk_has_no_end() -> None:
    growth = growth_per_day([DiskSample(hour * HOUR_S, 10**9 - hour) for hour in range(48)])
    assert growth is not None and growth < 0 and days_left(growth, 5) is None


def test_the_samples_are_bounded_and_survive_a_clock_that_was_set_back() -> None:
    samples: list[DiskSample] = []
    for hour in range(SAMPLES_MAX + 50):
        samples = add_sample(samples, DiskSample(hour * HOUR_S, hour), HOUR_S)
    assert len(samples) == SAMPLES_MAX and samples[-1].used_bytes == SAMPLES_MAX + 49
    set_back = add_sample(samples, DiskSample(samples[100].time_s + 1.0, 7), HOUR_S)
    assert set_back == samples[:101]


def test_the_api_stores_hourly_samples_and_forecasts_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    now = [1e9]
    names = set()
    for hour in range(30):
        now[0] = 1e9 + hour * HOUR_S
        metrics = DiskMetrics(tmp_path, lambda: now[0])  # a restart of the API each hour
        names = {metric.name for metric in metrics.read() if metric.samples}
        metrics.read()
    stored = json.loads((tmp_path / "run" / "disk-usage.json").read_text())["samples"]
    assert [at_s for at_s, _ in stored] == [1e9 + hour * HOUR_S for hour in range(30)]
    assert "platform_host_disk_growth_bytes_per_day" in names
    stored = [[at_s, 10**9 + n * 1000] for n, (at_s, _) in enumerate(stored)]
    (tmp_path / "run" / "disk-usage.json").write_text(json.dumps({"samples": stored}))
    values = {
        metric.name: metric.samples[0].value
        for metric in DiskMetrics(tmp_path, lambda: now[0]).read()
        if metric.name.startswith("platform_host_disk_") and metric.samples
    }
    assert values["platform_host_disk_growth_bytes_per_day"] == pytest.approx(24_000)
    assert values["platform_host_disk_days_left"] == pytest.approx(
        values["platform_host_disk_bytes"] / 24_000, rel=0.01
    )


@pytest.mark.parametrize("content", ["", "{}", '{"samples": [[1]]}', '{"samples": "x"}', "[]"])
def test_a_damaged_file_of_samples_starts_a_new_history(tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "disk-usage.json").write_text(content)
    DiskMetrics(tmp_path, lambda: DAY_S).read()
    assert len(json.loads((tmp_path / "run" / "disk-usage.json").read_text())["samples"]) == 1


def test_usage_is_reported_by_topic_and_folder(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    kafka = home.data / "kafka"
    for name, size in (("market-bars-0", 9000), ("market-bars-1", 5000), ("orders-0", 100)):
        (kafka / name).mkdir(parents=True)
        (kafka / name / "00000000000000000000.log").write_bytes(bytes(size))
    assert read_disk_usage(home, None).topics is None, "the Kafka of another machine"
    (kafka / "meta.properties").write_text("")
    (tmp_path / "archive" / "orders" / "0").mkdir(parents=True)
    (tmp_path / "archive" / "orders" / "0" / "2024-01-02-000000000000.avro").write_bytes(bytes(20_000))
    usage = read_disk_usage(home, "postgresql://127.0.0.1:1/none")
    assert usage.topics is not None and set(usage.topics) == {"market-bars", "orders"}
    assert usage.topics["market-bars"] >= 14_000 > usage.topics["orders"] >= 100
    assert usage.folders["archive"] >= 20_000 and usage.tables is None
    assert largest(usage.topics, 1)[0][0] == "market-bars"
