"""The bootstrap: exact on a known case, silent on noise, strict about its queries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stm_agent.errors import DataError
from stm_agent.evaluate.significance import confidence_interval, paired_bootstrap


def _named(values: np.ndarray) -> dict[str, float]:
    return {f"q{index}": float(value) for index, value in enumerate(values)}


def test_interval_agrees_with_the_t_interval() -> None:
    values = np.random.default_rng(0).uniform(size=400)
    interval = confidence_interval(_named(values))
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert interval.low == pytest.approx(low, abs=0.003)
    assert interval.high == pytest.approx(high, abs=0.003)


def test_noise_is_rarely_significant() -> None:
    random = np.random.default_rng(1)
    found = 0
    for seed in range(60):
        a, b = random.uniform(size=(2, 100))
        comparison = paired_bootstrap(_named(a), _named(b), samples=1000, seed=seed)
        found += comparison.low > 0 or comparison.high < 0
    assert found <= 8


def test_gain_is_found_and_seeded() -> None:
    base = np.random.default_rng(2).uniform(0, 0.8, size=200)
    first = paired_bootstrap(_named(base + 0.1), _named(base))
    assert first.low > 0.09
    assert first.p_value <= 1e-3
    assert first == paired_bootstrap(_named(base + 0.1), _named(base))


def test_other_queries_are_refused() -> None:
    with pytest.raises(DataError, match="same queries"):
        paired_bootstrap({"a": 1.0}, {"b": 1.0})
