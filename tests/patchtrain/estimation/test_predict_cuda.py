"""The prediction against a CUDA device: what torch's allocator reserves, what the process holds."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import pytest
import torch
from conftest import generator, random_batch

from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.engine import Engine
from patchtrain.estimation.predict import estimate
from patchtrain.memory.guards import guard_for

BASE = TrialConfig(
    image_size=1024, patch_size=128, inner_iterations=2, backbone="resnet50", device="cuda"
)
CONFIGS = [
    *({"sampling_rate": rate} for rate in (0.05, 0.1, 0.2, 0.4)),
    *({"patch_size": size} for size in (64, 256, 512)),
    *({"precision": precision} for precision in ("bf16", "fp16")),
    *({"norm": norm, "patch_microbatch": 8} for norm in ("batch", "group", "frozen")),
    *({"method": method} for method in ("patchgd", "full", "checkpointed")),
    *({"backbone": name} for name in ("resnet18", "mobilenetv2_100", "convnext_tiny")),
    {"fusion": "concat"},
    {"channels_last": True, "precision": "bf16"},
    {"optimizer_kernel": "foreach"},
    {"batch_size": 8},
    {"accumulation_steps": 3},
]


class Held(NamedTuple):
    """What a run held at most, in bytes."""

    reserved: int
    process: int | None


def hold(config: TrialConfig) -> Held:
    """Train two batches and validate one on the device."""
    guard = guard_for(torch.device("cuda"), None)
    with guard:
        engine = Engine(config, num_classes(config), guard, batches_per_epoch=2, epochs=1)
        for seed in range(2):
            engine.train_batch(random_batch(config, seed=seed), generator(seed))
        engine.finish_epoch()
        engine.predict(random_batch(config))
        torch.cuda.synchronize()
    peak = guard.peak()
    assert peak.reserved_bytes is not None
    return Held(peak.reserved_bytes, peak.process_bytes)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("changes", CONFIGS, ids=str)
def test_predicted_reserved_is_never_under_and_at_most_a_tenth_over(changes):
    config = TrialConfig(**{**vars(BASE), **changes})
    predicted = estimate(config)
    # a process of its own: an allocator that nothing has used before
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        held = pool.submit(hold, config).result()
    assert held.reserved <= predicted.predicted_reserved_bytes <= 1.1 * held.reserved
    if held.process is not None:
        assert held.process <= predicted.needed_bytes
