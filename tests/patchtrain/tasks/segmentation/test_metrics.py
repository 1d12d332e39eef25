"""Loss and metrics of segmentation, by hand and against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchmetrics.functional import classification as reference

from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.tasks.segmentation.confusion import image_metrics, pooled_metrics
from patchtrain.tasks.segmentation.metrics import Segmentation


def masks(num_classes: int, seed: int = 0, shape: tuple[int, ...] = (3, 20, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, num_classes, shape, dtype=np.uint8)


def metrics_of(num_classes: int, predicted: np.ndarray, wanted: np.ndarray) -> dict:
    task = Segmentation(num_classes)
    return dict(task.metrics(task.score(predicted, list(wanted))))


def test_metrics_of_a_hand_worked_case():
    # TP 3, FP 1, FN 2, TN 4
    metrics = pooled_metrics(np.array([[4, 1], [2, 3]]))
    sensitivity, specificity = 3 / 5, 4 / 5
    assert metrics == pytest.approx(
        {
            "accuracy": 0.7,
            "f1": 6 / 9,
            "iou": 3 / 6,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "plr": sensitivity / (1 - specificity),
            "nlr": (1 - sensitivity) / specificity,
            "plr_undefined": 0,
            "nlr_undefined": 0,
        }
    )


def test_binary_metrics_agree_with_torchmetrics():
    predicted, wanted = masks(2, 1), masks(2, 2)
    wanted[0, :5] = IGNORED
    ours = metrics_of(2, predicted, wanted)
    pair = torch.from_numpy(predicted), torch.from_numpy(wanted).long()
    options = {"ignore_index": IGNORED}
    assert ours["accuracy"] == pytest.approx(reference.binary_accuracy(*pair, **options).item())
    assert ours["f1"] == pytest.approx(reference.binary_f1_score(*pair, **options).item())
    assert ours["iou"] == pytest.approx(reference.binary_jaccard_index(*pair, **options).item())
    recall = reference.binary_recall(*pair, **options).item()
    specificity = reference.binary_specificity(*pair, **options).item()
    assert ours["balanced_accuracy"] == pytest.approx((recall + specificity) / 2)
    assert ours["plr"] == pytest.approx(recall / (1 - specificity))
    assert ours["nlr"] == pytest.approx((1 - recall) / specificity)


def test_multiclass_metrics_agree_with_torchmetrics():
    predicted, wanted = masks(4, 1), masks(4, 2)
    wanted[0, :5] = IGNORED
    ours = metrics_of(4, predicted, wanted)
    pair = torch.from_numpy(predicted).long(), torch.from_numpy(wanted).long()
    options = {"ignore_index": IGNORED, "num_classes": 4}
    accuracy = reference.multiclass_accuracy(*pair, average="micro", **options)
    balanced = reference.multiclass_accuracy(*pair, average="macro", **options)
    assert ours["accuracy"] == pytest.approx(accuracy.item())
    assert ours["balanced_accuracy"] == pytest.approx(balanced.item())
    assert ours["f1"] == pytest.approx(reference.multiclass_f1_score(*pair, **options).item())
    assert ours["mean_iou"] == pytest.approx(
        reference.multiclass_jaccard_index(*pair, **options).item()
    )
    assert "iou" not in ours


def test_pooled_metrics_are_of_all_pixels_and_image_metrics_are_means():
    perfect, wrong = np.array([[9, 0], [0, 1]]), np.array([[4, 4], [1, 1]])
    task = Segmentation(2)
    metrics = task.metrics([perfect, wrong])
    assert metrics["f1"] == pytest.approx(2 * 2 / (2 * 2 + 4 + 1))
    assert metrics["image_f1"] == pytest.approx((1 + 2 / 7) / 2)
    assert metrics["image_plr"] == pytest.approx((1 / 2) / (4 / 8))  # of the second alone
    assert metrics["image_plr_undefined"] == 1  # infinite in the first


@pytest.mark.parametrize(
    ("confusion", "undefined"),
    [
        ([[10, 0], [0, 5]], {"plr"}),  # no false positive
        ([[10, 0], [5, 0]], {"plr"}),  # nothing found, nothing false
        ([[0, 10], [5, 0]], {"nlr"}),  # nothing left rightly
        ([[10, 0], [0, 0]], {"f1", "iou", "balanced_accuracy", "plr", "nlr"}),  # no positives
        ([[8, 2], [0, 0]], {"balanced_accuracy", "plr", "nlr"}),
        ([[0, 0], [0, 7]], {"balanced_accuracy", "plr", "nlr"}),  # no negatives
    ],
)
def test_what_is_infinite_or_undefined_is_none_and_counted(confusion, undefined):
    metrics = pooled_metrics(np.array(confusion))
    ratios = {"plr", "nlr"}
    assert {name for name, value in metrics.items() if value is None} == undefined
    assert {n for n in ratios if metrics[f"{n}_undefined"] == 1} == undefined & ratios
    by_image = image_metrics([np.array(confusion), np.array([[4, 1], [2, 3]])])
    assert all(value is None or np.isfinite(value) for value in by_image.values())
    assert {n for n in metrics if by_image.get(f"image_{n}_undefined") == 1} == undefined


def test_every_undefined_class_of_every_image_is_counted():
    third_absent = np.array([[5, 0, 0], [1, 4, 0], [0, 0, 0]])
    all_there = np.array([[5, 1, 0], [2, 5, 1], [1, 0, 3]])
    metrics = image_metrics([third_absent, all_there])
    assert metrics["image_f1_undefined"] == 1
    assert metrics["image_nlr_undefined"] == 1
    assert metrics["image_plr_undefined"] == 2  # and its second has no false positive
    assert metrics["image_nlr"] == pytest.approx(
        np.mean([image_metrics([image])["image_nlr"] for image in (third_absent, all_there)])
    )


def test_nothing_counted_has_no_metrics():
    metrics = metrics_of(2, masks(2), np.full((3, 20, 30), IGNORED, np.uint8))
    assert {v for n, v in metrics.items() if not n.endswith("_undefined")} == {None}


@pytest.mark.parametrize("num_classes", [2, 4])
def test_sums_of_pieces_add_up_and_give_the_loss_of_the_whole(num_classes):
    task = Segmentation(num_classes)
    outputs = torch.randn(1, 1 if num_classes == 2 else num_classes, 8, 12, dtype=torch.float64)
    target = torch.from_numpy(masks(num_classes, shape=(1, 8, 12)))
    target[0, 0, :3] = IGNORED
    whole = task.sums(outputs, target)
    pieces = task.sums(outputs[..., :5], target[..., :5]) + task.sums(
        outputs[..., 5:], target[..., 5:]
    )
    torch.testing.assert_close(whole, pieces)
    assert len(whole) == task.num_sums
    assert torch.isfinite(task.loss_of(whole))


def test_a_perfect_prediction_costs_nothing_and_the_opposite_much():
    task = Segmentation(2)
    target = torch.from_numpy(masks(2, shape=(1, 16, 16)))
    outputs = torch.where(target == 1, 20.0, -20.0)[:, None]
    assert task.loss_of(task.sums(outputs, target)) < 1e-3
    assert task.loss_of(task.sums(-outputs, target)) > 10


def test_an_image_of_background_alone_learns_by_cross_entropy_alone():
    task = Segmentation(2)
    outputs = torch.randn(1, 1, 16, 16)
    target = torch.zeros(1, 16, 16, dtype=torch.uint8)
    loss = task.loss_of(task.sums(outputs, target))
    expected = functional.binary_cross_entropy_with_logits(outputs, torch.zeros_like(outputs))
    torch.testing.assert_close(loss, expected)


def test_the_class_of_a_pixel_is_the_likeliest():
    assert Segmentation(2).classes(torch.tensor([[[[-1.0, 2.0]]]])).tolist() == [[[0, 1]]]
    outputs = torch.tensor([[[[1.0, 0.0]], [[0.0, 3.0]], [[0.5, 1.0]]]])
    assert Segmentation(3).classes(outputs).tolist() == [[[0, 1]]]


def test_half_precision_outputs_are_summed_in_full():
    outputs = torch.full((1, 1, 300, 300), 0.25, dtype=torch.bfloat16)
    sums = Segmentation(2).sums(outputs, torch.ones(1, 300, 300, dtype=torch.uint8))
    assert sums.dtype == torch.float32
    assert sums[1] == 90_000
