"""Two methods: one derived from another, one written from nothing."""

from __future__ import annotations

import numpy as np

from patchtrain.catalog import MethodFacts
from patchtrain.methods import Method
from patchtrain.methods.patchgd import PatchGd
from patchtrain.step.encoder import Inputs
from patchtrain.step.randomness import draw_seed
from patchtrain.tasks import Pass


class Neighbours(PatchGd):
    """PatchGD that samples patches next to each other, along a row, instead of scattered ones."""

    facts = MethodFacts(
        input_side="patch_size",
        samples_patches=True,
        has_latent=True,
        reads=("patch_size", "sampling_rate", "inner_iterations", "aggregator", "layout"),
    )

    def _sample(self, num_images, generator):
        """Return k distinct positions for each image, [B, k]."""
        random = np.random.default_rng(draw_seed(generator))
        starts = random.integers(0, self._grid.num_patches, (num_images, 1))
        return (starts + np.arange(self._config.num_sampled)) % self._grid.num_patches


class Mirrored(Method):
    """Trains on the image as small as a patch, mirrored at random."""

    facts = MethodFacts(
        input_side="patch_size",
        reads=("patch_size",),
        refuses=dict.fromkeys(
            ("segmentation", "detection"), "mirrors no targets; use method=downsampled"
        ),
    )

    def _encode(self, generator):
        """Run what one inner iteration learns from through the backbone."""
        images = self._batch.resized(self._config.patch_size)
        if np.random.default_rng(draw_seed(generator)).random() < 0.5:
            images = images[:, :, ::-1]
        return self._encoder.encode_for_training(_inputs(images), generator), Pass(self._batch)

    def predict(self, batch):
        """Return the class scores [B, K]."""
        inputs = _inputs(batch.resized(self._config.patch_size))
        at_once = self._encoder.chunk_size(len(batch), len(batch))
        return self._reader.read_whole(self._encoder.encode(inputs, at_once))


def _inputs(images):
    return Inputs(len(images), lambda start, stop: images[start:stop], group=len(images))
