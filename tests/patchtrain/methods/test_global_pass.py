"""When the global patch runs: with the sampled patches, or with the fill of Z."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny, tiny_boxes, tiny_masks

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.estimation.predict import estimate
from patchtrain.methods.patchgd import PatchGd

FORMS: dict[str, Callable[..., TrialConfig]] = {
    "classification": tiny,
    "segmentation": tiny_masks,
    "detection": tiny_boxes,
    "stacked detection": lambda **changes: tiny_boxes(layout="stack", **changes),
}


@pytest.fixture(params=FORMS)
def form(request) -> Callable[..., TrialConfig]:
    return FORMS[request.param]


def run(config: TrialConfig) -> tuple[Any, list[int], bool]:
    """Return a prediction, how many inputs the backbone got in each of its passes of a batch, and
    whether a global patch's gradient would have reached it.
    """
    engine, guard = build_engine(config)
    batch = random_batch(config)
    sizes: list[int] = []
    engine.network.backbone.register_forward_pre_hook(
        lambda _, inputs: sizes.append(len(inputs[0]))
    )
    with guard:
        engine.train_batch(batch, generator())
        passes = list(sizes)
        outputs = engine.predict(batch)
    return outputs, passes, engine._method._filled_global is not None


def test_joint_runs_it_in_each_iteration_and_filled_once_per_batch(form):
    settings = {"norm": "frozen", "inner_iterations": 3, "batch_size": 2}
    joint, filled = (form(global_pass=name, **settings) for name in ("joint", "filled"))
    k, num_images = joint.num_sampled, 2
    *_, passes, still_held = run(joint)
    assert passes[-3:] == [num_images * (k + 1)] * 3
    total = sum(passes)
    *_, passes, still_held = run(filled)
    assert passes[-3:] == [num_images * k] * 3
    assert sum(passes) == total - 2 * num_images  # 1 pass of each global patch instead of 3
    assert not still_held


def test_both_predict_the_same_with_the_same_weights(form):
    settings = {"norm": "frozen", "learning_rate": 1e-12}
    joint, filled = (run(form(global_pass=name, **settings))[0] for name in ("joint", "filled"))
    assert (joint == filled).all() or abs(joint - filled).max() < 1e-4


def test_what_is_filled_gets_no_gradient(form):
    config = form(global_pass="filled", norm="frozen")
    engine, guard = build_engine(config)
    with guard:
        engine._method.start(random_batch(config))
        whole = engine._method._filled_global
        assert whole is not None and not whole.requires_grad
        assert len(whole) == config.batch_size
        engine._method.backward(generator())
        assert whole.grad is None
        assert torch.equal(whole, engine._method._filled_global)
        engine._method.finish()
    assert engine._method._filled_global is None


def test_statistics_of_batch_norm_do_not_see_a_filled_global_patch():
    """They do see one that runs with the sampled patches."""

    def mean_after(**changes: Any) -> torch.Tensor:
        config = tiny(sampling_rate=1.0, inner_iterations=1, learning_rate=1e-12, **changes)
        engine, guard = build_engine(config)
        with guard:
            engine.train_batch(random_batch(config), generator())
        return next(
            value for name, value in engine.network.backbone.named_buffers() if "mean" in name
        )

    alone = mean_after(method="patchgd")
    assert torch.equal(mean_after(global_pass="filled"), alone)
    assert not torch.equal(mean_after(global_pass="joint"), alone)


def test_filled_holds_less_than_joint_and_little_more_than_patchgd(form):
    settings = {"sampling_rate": 0.5, "fusion": "add", "image_size": 256, "norm": "frozen"}
    joint = estimate(form(global_pass="joint", **settings))
    filled = estimate(form(global_pass="filled", **settings))
    without = estimate(form(method="patchgd", **settings))
    assert without.predicted_peak_bytes < filled.predicted_peak_bytes < joint.predicted_peak_bytes
    assert (
        filled.predicted_peak_bytes - without.predicted_peak_bytes
        < joint.predicted_peak_bytes - filled.predicted_peak_bytes
    )


@pytest.mark.parametrize(
    ("task", "expected"),
    [("classification", "filled"), ("segmentation", "filled"), ("detection", "joint")],
)
def test_defaults(task, expected):
    dataset = {"classification": "panda", "segmentation": "drive", "detection": "coco"}[task]
    assert TrialConfig.from_mapping({"dataset": dataset}).global_pass == expected


class ReadsNoGlobalPass(PatchGd):
    facts = replace(
        catalog.METHODS["local_global"],
        implementation="",
        reads=tuple(
            name for name in catalog.METHODS["local_global"].reads if name != "global_pass"
        ),
    )


def test_a_method_of_ones_own_that_does_not_read_it_trains_on_the_global_patch():
    config = tiny_masks(method=f"{__name__}:ReadsNoGlobalPass", global_pass="filled")
    assert config.trains_on_global
