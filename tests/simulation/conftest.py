"""`pytest tests/simulation --seed N` runs one seed again; `--seeds N` runs the seeds from 0 to N - 1."""

from __future__ import annotations

import pytest

SEEDS = 250


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run only this seed of the simulation")
    parser.addoption("--seeds", type=int, default=SEEDS, help="how many seeds of the simulation to run")


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> list[int]:
    # In a run of the whole suite, pytest reads this file too late to register its options.
    single_seed = request.config.getoption("--seed", default=None)
    count = request.config.getoption("--seeds", default=SEEDS)
    return [single_seed] if single_seed is not None else list(range(count))
