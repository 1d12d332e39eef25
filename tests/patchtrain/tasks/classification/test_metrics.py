from __future__ import annotations

import numpy as np
import pytest
import torch

from patchtrain.tasks.classification.metrics import Classification


def metrics_of(
    predicted: list[int], wanted: list[int], num_classes: int = 6
) -> dict[str, float | None]:
    task = Classification(num_classes)
    outputs = np.eye(num_classes, dtype=np.float32)[predicted]
    return task.metrics(task.score(outputs, wanted))


def test_metrics_of_a_hand_worked_case():
    # confusion: 0->0, 0->1, 1->1, 2->0
    metrics = metrics_of([0, 1, 1, 0], [0, 0, 1, 2], 3)
    assert metrics["accuracy"] == 0.5
    # f1: class 0: 2*1/(2+1+1)=0.5, class 1: 2*1/(2+1+0)=2/3, class 2: 0
    assert metrics["macro_f1"] == pytest.approx((0.5 + 2 / 3) / 3, abs=1e-6)
    # observed disagreement (0+1+0+4)/4; expected over marginals (2,1,1) x (2,2,0) /16
    expected = (2 * 2 * 1 + 1 * 2 * 1 + 1 * 2 * 4 + 1 * 2 * 1) / 16
    assert metrics["kappa"] == pytest.approx(1 - (5 / 4) / expected, abs=1e-6)


def test_a_perfect_prediction_scores_one_everywhere():
    metrics = metrics_of([0, 1, 2, 3, 4, 5], list(range(6)))
    assert metrics == {"accuracy": 1.0, "kappa": 1.0, "macro_f1": 1.0}


def test_an_undefined_kappa_is_none():
    metrics = metrics_of([2, 2], [2, 2])
    assert metrics["kappa"] is None
    assert metrics["accuracy"] == 1.0


def test_loss_is_cross_entropy_in_full_precision():
    loss = Classification(4).loss(torch.zeros(2, 4, dtype=torch.bfloat16), torch.tensor([0, 3]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(np.log(4))
