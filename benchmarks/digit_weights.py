"""Weights of a backbone that has seen single digits of every size, for UltraMNIST.

    python benchmarks/digit_weights.py --mnist-dir MNIST --side 64 digits.safetensors

They take the place of ImageNet's, from which the paper's networks start: a small network that
starts from random weights learns no sums in the time of a benchmark. The digits are MNIST's for
training, one to an image, on black, in sizes from a tenth of the image to all of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from patchtrain.datasets.samples.mnist import Digits, read_mnist
from patchtrain.models.backbones import build_backbone, feature_dim
from patchtrain.step.batch import CHANNEL_MEAN, CHANNEL_STD

_BATCH_SIZE = 128
_SMALLEST = 0.1
"""Side of the smallest digit, as part of the image's."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train and save the backbone."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    write_digit_weights(
        arguments.out,
        arguments.mnist_dir,
        arguments.side,
        backbone=arguments.backbone,
        norm=arguments.norm,
        epochs=arguments.epochs,
    )


def write_digit_weights(
    out: Path, mnist_dir: Path, side_px: int, *, backbone: str, norm: str, epochs: int = 2
) -> None:
    """Train `backbone` to name the digit in squares of `side_px` and save its weights as `out`."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = build_backbone(backbone, "none", norm).to(memory_format=torch.channels_last)
    head = nn.Linear(feature_dim(network), 10)
    parameters = [*network.parameters(), *head.parameters()]
    train, test = (read_mnist(mnist_dir, part) for part in ("train", "val"))
    steps = epochs * (len(train.labels) // _BATCH_SIZE)
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        images, labels = _drawn(train, side_px, rng)
        loss = functional.cross_entropy(head(network(images)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}/{steps}  loss {loss.item():.3f}", flush=True)
    network.eval()
    with torch.no_grad():
        drawn = [_drawn(test, side_px, rng) for _ in range(20)]
        right = [head(network(images)).argmax(1) == labels for images, labels in drawn]
    print(f"{torch.cat(right).float().mean():.1%} of the test digits named")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, str(out))


def _drawn(digits: Digits, side_px: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Return a batch of squares [B, 3, side, side], from 0 to 1 and normalized, and its labels."""
    chosen = rng.choice(len(digits.labels), _BATCH_SIZE, replace=False)
    images = torch.zeros(_BATCH_SIZE, side_px, side_px)
    for image, index in zip(images, chosen, strict=True):
        size = round(side_px * rng.uniform(_SMALLEST, 1.0))
        top, left = (int(rng.integers(side_px - size + 1)) for _ in range(2))
        scan = torch.from_numpy(digits.images[index] / np.float32(255))[None, None]
        resized = functional.interpolate(scan, (size, size), mode="bilinear", antialias=True)
        image[top : top + size, left : left + size] = resized[0, 0]
    return _normalized(images), torch.from_numpy(digits.labels[chosen])


def _normalized(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CHANNEL_MEAN, CHANNEL_STD))
    normalized = (images[:, None].expand(-1, 3, -1, -1) - mean) / std
    return normalized.contiguous(memory_format=torch.channels_last)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the safetensors file to write")
    parser.add_argument("--mnist-dir", type=Path, required=True, help="folder of MNIST's idx files")
    parser.add_argument("--side", type=int, default=64, help="of the images, in px")
    parser.add_argument("--backbone", default="test_resnet", help="a network of timm")
    parser.add_argument("--norm", choices=("batch", "group"), default="group")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
