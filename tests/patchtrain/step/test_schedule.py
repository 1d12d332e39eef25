from __future__ import annotations

import pytest

from patchtrain.step.schedule import learning_rate_at

PEAK = 1e-3


def rates(num_steps: int, beta2: float = 0.999) -> list[float]:
    return [learning_rate_at(step, num_steps, PEAK, beta2) for step in range(num_steps)]


def test_a_long_run_warms_up_over_two_thousand_steps():
    values = rates(20_000)
    assert values[0] == pytest.approx(PEAK / 2000)
    assert values[999] == pytest.approx(PEAK / 2)
    assert values[1999] == pytest.approx(PEAK)
    assert values[11_000] == pytest.approx(PEAK / 2)
    assert max(values) == pytest.approx(PEAK)


def test_a_short_run_still_reaches_the_peak():
    values = rates(10)
    assert values[1] == pytest.approx(PEAK)
    assert values[-1] == pytest.approx(PEAK / 8)


def test_one_step_runs_at_the_peak():
    assert rates(1) == [PEAK]


@pytest.mark.parametrize("num_steps", [2, 5, 100, 12_345])
def test_it_rises_then_falls_and_stays_positive(num_steps):
    values = rates(num_steps)
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert min(values) > 0
