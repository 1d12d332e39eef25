"""The estimate answers what trying everything would."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import generator, random_batch, tiny

from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.engine import Engine
from patchtrain.errors import ConfigError
from patchtrain.estimation import advice as advice_module
from patchtrain.estimation.advice import (
    KNOBS,
    MAXIMISED,
    check_fits,
    check_maximised,
    knobs,
    largest,
)
from patchtrain.estimation.peak import WORKSPACE
from patchtrain.estimation.predict import check_budget, estimate, fixed_bytes
from patchtrain.memory import driver
from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.facts import ASSUMED, remember

# 2 sampled patches and the global one of each of 2 images: 6 inputs
SMALL = tiny(
    image_size=64, sampling_rate=0.5, aggregator="attention", norm="group", inner_iterations=1
)
DOWNSAMPLED = tiny(method="downsampled", norm="frozen")


@pytest.fixture(autouse=True)
def _batches_of_at_most_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit what the tests that try everything have to try."""
    monkeypatch.setattr(advice_module, "_MAX_BATCH_SIZE", 8)


def needed(config: TrialConfig, **changes: Any) -> int:
    return estimate(replace(config, **changes)).needed_bytes


def around(sizes: Sequence[int]) -> list[int]:
    """Budgets at which the answer changes, and those just below."""
    return sorted({size - less for size in sizes for less in (0, 1)})


def trained(config: TrialConfig, batches: int = 3) -> tuple[Engine, MemoryGuard]:
    guard = MemoryGuard(torch.device("cpu"), config.budget)
    with guard:
        engine = Engine(config, num_classes(config), guard, batches_per_epoch=batches, epochs=1)
        for number in range(batches):
            engine.train_batch(random_batch(config, seed=number), generator(number))
        engine.finish_epoch()
        engine.predict(random_batch(config))
    return engine, guard


def test_a_budget_of_the_estimate_is_enough_and_a_block_less_is_not():
    found = estimate(SMALL)
    assert found.fits(found.needed_bytes)
    assert not found.fits(found.needed_bytes - 1)
    _, guard = trained(replace(SMALL, budget=found.needed_bytes))
    assert guard.peak().allocated_bytes == found.predicted_peak_bytes
    assert guard.peak().phase == found.phase
    assert {**guard.peak().by_category, WORKSPACE: 0} == found.attribution
    with pytest.raises(BudgetExceeded):
        trained(replace(SMALL, budget=found.needed_bytes - 512))


def test_an_estimate_is_written_as_json():
    found = estimate(SMALL)
    told = json.loads(json.dumps(found.to_json()))
    assert told["predicted_peak_bytes"] == sum(told["attribution"].values())
    assert told["predicted_peak_bytes"] == told["needed_bytes"] <= told["predicted_reserved_bytes"]
    assert (told["patch_microbatch"], told["device"]) == ("none", "cpu")
    assert told["source"] in ("cache", "closed form", "dry run")
    assert told["phase"] == found.phase
    assert told["seconds"] >= 0


def test_weights_that_are_not_there_and_pretrained_ones_change_nothing():
    for weights in ("/nowhere/weights.safetensors", "pretrained"):
        assert needed(SMALL, weights=weights) == needed(SMALL)


def test_auto_is_the_largest_chunk_that_fits():
    config = SMALL
    num_inputs = config.batch_size * config.inputs_per_image
    by_chunk = {n: needed(config, patch_microbatch=n) for n in range(1, num_inputs)}
    whole = needed(config)
    assert len({*by_chunk.values(), whole}) > 3
    for budget in around([*by_chunk.values(), whole]):
        fitting = [n for n, num_bytes in by_chunk.items() if num_bytes <= budget]
        expected = "none" if whole <= budget else max(fitting, default=1)
        found = estimate(replace(config, patch_microbatch="auto", budget=budget))
        assert found.config.patch_microbatch == expected
        assert found.needed_bytes == (whole if expected == "none" else by_chunk[expected])


def test_auto_keeps_the_groups_of_batch_norm_whole():
    config = replace(SMALL, norm="batch", batch_size=3, global_pass="joint")
    by_chunk = {n: needed(config, patch_microbatch=n) for n in (3, 6)}
    whole = needed(config)
    assert by_chunk[3] < min(by_chunk[6], whole)
    for budget in around([*by_chunk.values(), whole]):
        fitting = [n for n, num_bytes in by_chunk.items() if num_bytes <= budget]
        expected = "none" if whole <= budget else max(fitting, default=3)
        found = estimate(replace(config, patch_microbatch="auto", budget=budget))
        assert found.config.patch_microbatch == expected


def test_auto_without_a_choice_runs_all_at_once():
    auto = replace(SMALL, patch_microbatch="auto")
    assert estimate(auto).config.patch_microbatch == "none"
    one = replace(DOWNSAMPLED, patch_microbatch="auto", budget=1)
    assert estimate(replace(one, batch_size=1)).config.patch_microbatch == "none"
    # the batch is the smallest chunk of a network that mixes it
    assert estimate(replace(one, norm="batch")).config.patch_microbatch == "none"


def test_what_fits_is_not_refused():
    found = estimate(SMALL)
    check_fits(found, found.needed_bytes)


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        (DOWNSAMPLED, "batch_size"),
        (replace(SMALL, batch_size=1, method="patchgd", norm="batch"), "sampling_rate"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_excess_and_a_remedy_that_fits(config, remedy):
    config = replace(config, patch_microbatch="auto", image_size=128, patch_size=64)
    smallest = estimate(replace(config, budget=1))
    budget = smallest.needed_bytes - 1
    chosen = estimate(replace(config, budget=budget))
    with pytest.raises(BudgetExceeded, match=f"in {chosen.phase}:") as caught:
        check_fits(chosen, budget)
    error, text = caught.value, str(caught.value)
    assert (error.budget_bytes, error.needed_bytes) == (budget, chosen.needed_bytes)
    assert error.phase == chosen.phase
    assert f"patch_microbatch={chosen.config.patch_microbatch} " in text
    assert f"by {chosen.needed_bytes - budget};" in text

    name, value = re.search(r"; use (\w+)=([\d.]+), or", text).groups()
    assert name == remedy
    remedied = replace(config, budget=budget, **{name: type(getattr(config, name))(value)})
    assert estimate(remedied).fits(budget)
    enough = int(re.search(r"or budget=(\d+)$", text).group(1))
    assert estimate(replace(config, budget=enough)).fits(enough)


def test_if_no_setting_alone_is_enough_the_message_says_so():
    chosen = estimate(replace(DOWNSAMPLED, patch_microbatch="auto", budget=1000))
    with pytest.raises(
        BudgetExceeded, match="batch_size, sampling_rate, patch_size alone"
    ) as caught:
        check_fits(chosen, 1000)
    assert f"by {chosen.needed_bytes - 1000};" in str(caught.value)


@pytest.mark.parametrize("kernel", ["fused", "foreach", "loop"])
@pytest.mark.parametrize("method", ["local_global", "full"])
def test_fixed_bytes_are_those_of_parameters_gradients_and_optimizer(method, kernel):
    config = replace(SMALL, method=method, norm="batch", optimizer_kernel=kernel)
    guard = MemoryGuard(torch.device("cpu"), None)
    live = []
    with guard:
        engine = Engine(config, num_classes(config), guard, batches_per_epoch=1, epochs=1)
        engine.optimizer.register_step_post_hook(lambda *_: live.append(dict(guard._meter._live)))
        engine.train_batch(random_batch(config), generator())
    (parts,) = live
    measured = parts["parameters"] + parts["gradients"] + parts["optimizer"]
    assert fixed_bytes(config) == measured


def test_fixed_bytes_are_below_every_estimate_of_the_networks():
    assert fixed_bytes(SMALL) == fixed_bytes(replace(SMALL, batch_size=9, sampling_rate=1.0))
    for changes in ({}, {"patch_microbatch": 1}, {"precision": "bf16"}):
        config = replace(SMALL, **changes)
        assert fixed_bytes(config) < estimate(config).predicted_peak_bytes
    smallest = replace(DOWNSAMPLED, batch_size=1)
    assert fixed_bytes(smallest) < estimate(smallest).predicted_peak_bytes


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_budget_below_the_networks_is_refused_with_the_number_that_is_needed(device):
    config = replace(SMALL, device=device)
    check_budget(config)
    with pytest.raises(ConfigError, match=r"backbone=test_resnet .*raise it") as caught:
        check_budget(replace(config, budget=1000))
    least = int(re.search(r"\((\d+) bytes\)", str(caught.value)).group(1))
    assert least == fixed_bytes(config) + (ASSUMED.context_bytes if device == "cuda" else 0)
    check_budget(replace(config, budget=least))
    with pytest.raises(ConfigError, match=f"{least} bytes"):
        check_budget(replace(config, budget=least - 1))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            replace(
                SMALL, image_size=128, patch_size=64, fusion="concat", norm="frozen",
                global_pass="joint",
            ),
            {"sampling_rate", "batch_size", "patch_size", "patch_microbatch", "fusion"},
        ),
        (
            replace(SMALL, method="full", image_size=128, norm="frozen"),
            {"batch_size", "image_size", "patch_microbatch", "precision", "method"},
        ),
    ],
)  # fmt: skip
def test_each_knob_holds_what_it_says_and_less_than_before(config, expected):
    base = estimate(config)
    found = knobs(config, base)
    assert {knob.name for knob in found} >= expected
    assert {knob.name for knob in found} <= set(KNOBS)
    for knob in found:
        assert knob.needed_bytes == needed(base.config, **{knob.name: knob.value})
        assert knob.needed_bytes < base.needed_bytes
    sizes = [knob.needed_bytes for knob in found]
    assert sizes == sorted(sizes)


def test_a_knob_that_lowers_nothing_is_left_out():
    """An optimizer step holds the same whatever the batch."""
    config = replace(DOWNSAMPLED, optimizer_kernel="foreach")
    base = estimate(config)
    assert base.phase == "optimizer"
    assert [knob.name for knob in knobs(config, base)] == ["optimizer_kernel"]


def check_largest(config: TrialConfig, name: str, values: Sequence[Any]) -> None:
    """`largest` against trying all `values`, for budgets that hold all but the last."""
    by_value = {value: needed(config, **{name: value}) for value in values}
    for budget in around(list(by_value.values())[:-1])[1:]:
        fitting = [value for value, num_bytes in by_value.items() if num_bytes <= budget]
        found = largest(config, name, budget)
        assert found == pytest.approx(max(fitting))
        assert estimate(replace(config, **{name: found})).fits(budget)


def test_the_largest_sampling_rate_is_that_of_trying_all():
    config = replace(SMALL, method="patchgd", norm="frozen")
    check_largest(config, "sampling_rate", [k / 4 for k in range(1, 5)])
    most = needed(config, sampling_rate=1.0)
    assert largest(config, "sampling_rate", most) == 1
    assert largest(config, "sampling_rate", 2 * most) == 1
    assert largest(config, "sampling_rate", 1) is None


def test_the_largest_batch_is_that_of_trying_all():
    check_largest(DOWNSAMPLED, "batch_size", range(1, 7))


def test_the_largest_image_is_that_of_trying_all():
    check_largest(replace(DOWNSAMPLED, method="full"), "image_size", range(32, 160, 32))
    patches = replace(SMALL, method="patchgd", norm="frozen", sampling_rate=1.0)
    check_largest(patches, "image_size", range(64, 160, 32))


def test_the_largest_patch_is_that_of_trying_all():
    config = replace(DOWNSAMPLED, image_size=192)
    by_size = {size: needed(config, patch_size=size) for size in (32, 48, 64, 96)}
    for budget in around(list(by_size.values())):
        fitting = [size for size, num_bytes in by_size.items() if num_bytes <= budget]
        assert largest(config, "patch_size", budget) == max(fitting, default=None)


def test_auto_asks_for_the_largest_with_the_smallest_chunk():
    config = replace(DOWNSAMPLED, method="full")
    budget = needed(config, patch_microbatch=1, batch_size=3)
    found = largest(replace(config, patch_microbatch="auto"), "batch_size", budget)
    assert found >= 3
    assert needed(config, patch_microbatch=1, batch_size=found) <= budget
    assert largest(config, "batch_size", budget) < 3


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("full", "sampling_rate"),
        ("downsampled", "sampling_rate"),
        ("full", "patch_size"),
        ("checkpointed", "patch_size"),
        ("downsampled", "image_size"),
    ],
)
def test_what_has_no_influence_cannot_be_maximised(method, name):
    config = replace(SMALL, method=method)
    with pytest.raises(ConfigError, match=f"--max {name}: .* method={method};"):
        largest(config, name, 10**9)
    with pytest.raises(ConfigError):
        check_maximised(config, name)


@pytest.mark.parametrize("name", ["learning_rate", "patch_microbatch", "nothing"])
def test_what_cannot_be_maximised_is_refused_with_what_can(name):
    with pytest.raises(ConfigError, match=f"--max {name}: unknown; use one of .*batch_size"):
        largest(SMALL, name, 10**9)


def test_all_that_can_be_maximised_can_be_for_the_papers_method():
    for name in MAXIMISED:
        check_maximised(SMALL, name)


def test_cuda_holds_workspace_cache_and_context_too():
    config = replace(SMALL, device="cuda")
    found = estimate(config)
    assert found.device == "cuda"
    assert found.needed_bytes > found.predicted_reserved_bytes + ASSUMED.context_bytes
    assert found.predicted_reserved_bytes >= found.predicted_peak_bytes
    assert found.attribution[WORKSPACE] == ASSUMED.workspace_bytes
    assert sum(found.attribution.values()) == found.predicted_peak_bytes
    on_cpu = estimate(replace(config, device="cpu"))
    assert on_cpu.attribution[WORKSPACE] == 0
    assert on_cpu.attribution["parameters"] == found.attribution["parameters"]


def test_what_was_measured_of_a_gpu_is_counted_instead_of_the_assumption():
    config = replace(SMALL, device="cuda")
    assumed = estimate(config)
    lean = replace(ASSUMED, name="GPU", context_bytes=200 * 2**20, workspace_bytes=0)
    found = estimate(config, facts=lean)
    assert found.attribution[WORKSPACE] == 0
    assert assumed.needed_bytes - found.needed_bytes >= 400 * 2**20
    told = found.to_json()
    assert (told["context_bytes"], told["workspace_bytes"]) == (200 * 2**20, 0)
    assert told["assumed"] is False and assumed.to_json()["assumed"] is True
    assert "context_bytes" not in estimate(SMALL).to_json()
    some = replace(lean, workspace_bytes=30 * 2**20)
    growing = estimate(config, facts=some).predicted_reserved_bytes
    native = estimate(config, facts=replace(some, expandable_segments=False))
    assert growing - native.predicted_reserved_bytes == 10 * 2**20  # the rest of a page
    budget = found.needed_bytes
    chosen = [
        estimate(replace(config, patch_microbatch="auto", budget=budget), facts=facts).config
        for facts in (lean, None)
    ]
    assert chosen[0].patch_microbatch == "none" != chosen[1].patch_microbatch


def test_what_was_measured_of_this_machines_gpu_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path))
    device = SimpleNamespace(name="GPU", total_memory=8 * 10**9)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: device)
    monkeypatch.setattr(driver, "driver_version", lambda: "580.1")
    config = replace(SMALL, device="cuda")
    assert estimate(config).facts == ASSUMED
    known = replace(
        ASSUMED, name="GPU", driver="580.1", torch=str(torch.__version__), context_bytes=5
    )
    remember(known)
    assert estimate(config).facts == known


def test_what_fits_on_cuda_still_fits_with_more():
    found = estimate(replace(SMALL, device="cuda"))
    assert found.fits(found.needed_bytes)
    assert not found.fits(ASSUMED.context_bytes + found.predicted_peak_bytes)
    assert not found.fits(ASSUMED.context_bytes)
    assert not found.fits(1)
    step = 3 * 2**20
    budgets = range(ASSUMED.context_bytes, found.needed_bytes + 50 * step, step)
    answers = [found.fits(budget) for budget in budgets]
    assert answers == sorted(answers)
    assert answers[-1]


def test_auto_is_the_largest_chunk_that_fits_a_device_that_is_not_there():
    config = tiny(method="full", norm="frozen", image_size=1024, batch_size=4, device="cuda")
    by_chunk = {n: estimate(replace(config, patch_microbatch=n)) for n in range(1, 4)}
    whole = estimate(config)
    for found in (*by_chunk.values(), whole):
        for budget in (found.needed_bytes, found.needed_bytes - 100 * 2**20):
            fitting = [n for n, other in by_chunk.items() if other.fits(budget)]
            expected = "none" if whole.fits(budget) else max(fitting, default=1)
            chosen = estimate(replace(config, patch_microbatch="auto", budget=budget))
            assert chosen.config.patch_microbatch == expected
    assert by_chunk[1].needed_bytes < by_chunk[3].needed_bytes < whole.needed_bytes


@pytest.mark.parametrize("device", ["tpu", "mps", "cuda:x", "gpu0"])
def test_an_unknown_device_is_named(device):
    with pytest.raises(ConfigError, match=f"device='{device}' .*use auto, cpu, cuda"):
        estimate(replace(SMALL, device=device))


def test_networks_that_cannot_be_trained_are_refused():
    with pytest.raises(ConfigError, match=r"backbone='test_resnt' .*test_resnet"):
        estimate(replace(SMALL, backbone="test_resnt"))
    pooled = replace(SMALL, aggregator="mobilenetv4_conv_small_035", norm="batch", batch_size=1)
    with pytest.raises(ConfigError, match=r"cannot be trained on .* images \(batch_size\)"):
        estimate(pooled)


def test_a_smaller_validation_batch_never_needs_more():
    config = replace(SMALL, norm="frozen")
    whole, one = estimate(config), estimate(config, num_validated=1)
    assert one.needed_bytes <= whole.needed_bytes
    assert one.phase == whole.phase == "inner_iteration"
