"""An aggregator: the strongest response over the grid."""

from __future__ import annotations

from torch import nn


class Strongest(nn.Module):
    """B x d x m x n -> B x K, blind to where a cell lies."""

    def __init__(self, in_features, grid_size, num_classes, drop_rate=0.0):
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(in_features, 64, 1), nn.GELU())
        self.dropout = nn.Dropout(drop_rate)
        self.classify = nn.Linear(64, num_classes)

    def forward(self, latent):
        cells = self.mix(latent)
        return self.classify(self.dropout(cells.logsumexp(dim=(2, 3))))
