"""`Network`: a trial's backbone and the head that reads its features; and their memory layout.

Knows nothing of names, tasks, data sets, budgets or how a method feeds it.

Shapes: B batch, p patch side in px, d features, m n grid, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchtrain.config import TrialConfig
from patchtrain.grid.fusion import Fusion


class Network(nn.Module):
    """Backbone and head.

    Classification: B x 3 x p x p -> B x d, and an aggregator of the latent block B x d x m x n
    (B x 2d x m x n when concatenated), or a linear layer on B x d; to B x K.

    Segmentation: B x 3 x p x p -> B x d x p x p, and a 1x1 convolution of the latent block's cells
    (2d when concatenated); without latent block, the decoder's features and a classifier of them;
    to B x K x p x p, where one channel is enough for two classes.

    Detection: B x 3 x p x p -> B x L x d, the cells of all levels of a feature pyramid, and FCOS's
    head, with a 1x1 convolution in front that joins the latent block's features of a cell.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, fusion: Fusion | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.fusion = fusion
        """Joins the global patch's features with the latent block, if there is one."""

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores of whole `images` [B, 3, p, p]; only for heads of whole images."""
        return self.head(self.backbone(images))


def memory_layout(config: TrialConfig, device: torch.device) -> torch.memory_format:
    """Return the memory layout of images on `device`. On the CPU most networks run faster with the
    channels together (docs/log.md has the exceptions).
    """
    wanted = config.channels_last
    together = device.type == "cpu" if wanted == "auto" else wanted
    return torch.channels_last if together else torch.contiguous_format


def lay_out(network: nn.Module, layout: torch.memory_format, device: torch.device) -> None:
    """Give the weights of convolutions the memory layout `layout`, if `device` needs it.

    CPU kernels convert weights by themselves.
    """
    if device.type == "cpu":
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight
            module.weight = nn.Parameter(
                weight.detach().contiguous(memory_format=layout), weight.requires_grad
            )
