"""`unet_plain`: the U-Net of Ronneberger et al., 2015, padded, with batch norm; the paper's.

Shapes: B batch, H W px, multiples of 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512, 1024)


class PlainUnet(nn.Module):
    """B x 3 x H x W -> B x `out_channels` x H x W, without a classifier."""

    output_stride = 2 ** (len(CHANNELS) - 1)
    """The sides of an input must be multiples of this."""
    out_channels = CHANNELS[0]

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *CHANNELS[:-1])
        self.down = nn.ModuleList(_double(i, o) for i, o in zip(inputs, CHANNELS, strict=True))
        upwards = list(zip(CHANNELS[:0:-1], CHANNELS[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in upwards)
        self.up = nn.ModuleList(_double(2 * o, o) for _, o in upwards)
        self.shrink = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features [B, 64, H, W] of `images` [B, 3, H, W]."""
        if any(side % self.output_stride for side in images.shape[-2:]):
            height, width = images.shape[-2:]
            raise ValueError(f"{height} x {width} px are not multiples of {self.output_stride}")
        skipped = []
        features = images
        for level, block in enumerate(self.down):
            features = block(features if level == 0 else self.shrink(features))
            skipped.append(features)
        skipped.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            features = block(torch.cat([skipped.pop(), grow(features)], dim=1))
        return features


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
