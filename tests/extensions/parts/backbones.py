"""A backbone for each task: networks of a few layers."""

from __future__ import annotations

from torch import nn


def _shrink(inputs, outputs, stride=2):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Vectors(nn.Module):
    """Classification: B x 3 x p x p -> B x d."""

    def __init__(self, num_features=32):
        super().__init__()
        self.num_features = num_features
        self.layers = nn.Sequential(_shrink(3, 16), _shrink(16, num_features))

    def forward(self, images):
        return self.layers(images).mean(dim=(2, 3))


class Maps(nn.Module):
    """Segmentation: B x 3 x p x p -> B x d x p/s x p/s."""

    num_features = 16
    stride = 2

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(_shrink(3, 16), _shrink(16, 16, stride=1))

    def forward(self, images):
        return self.layers(images)


class Pyramid(nn.Module):
    """Detection: B x 3 x p x p -> three maps, of strides 8, 16 and 32 px."""

    feature_channels = (16, 32, 64)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(_shrink(3, 8), _shrink(8, 8))
        self.stages = nn.ModuleList([_shrink(8, 16), _shrink(16, 32), _shrink(32, 64)])

    def forward(self, images):
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]
