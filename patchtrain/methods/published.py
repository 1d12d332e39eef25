"""`published` and `published_patchgd`: the authors' code, where it differs from their text.

Theirs, not ours: to see what the difference is worth. docs/paper.md says how they differ. What is
left out has no effect on what is learned: they fill Z with gradients that they drop.

Shapes: B batch, m n grid, k sampled; F features of an input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from patchtrain.grid.latent import LatentBlock
from patchtrain.memory.meter import LATENT
from patchtrain.methods.local_global import LocalGlobal
from patchtrain.methods.patchgd import PatchGd
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Encoded, Inputs
from patchtrain.step.randomness import draw_seed
from patchtrain.tasks import Pass


class PublishedPatchGd(PatchGd):
    """Their baseline. Z is filled in training mode: batch norm takes its statistics over an image's
    patches.

    - Classification: the features of sampled patches are detached, so the backbone never trains,
      and the loss of the batch is taken after each image's patches have joined Z.
    - Segmentation: as PatchGD, but each inner iteration begins from the fill.
    - Detection: their code has no PatchGD.
    """

    def start(self, batch: HostBatch) -> None:
        """Take `batch`; Z is filled with the first inner iteration, which brings random numbers."""
        self._batch = batch

    def backward(
        self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor] = lambda loss: loss
    ) -> Tensor:
        """See `Method`."""
        batch, latent = self._filled(generator)
        if self._config.task == "classification":
            return self._learn_image_by_image(batch, latent, generator, scaled)
        inputs, given = self._drawn(generator)
        assert given.positions is not None
        positions = torch.from_numpy(given.positions).to(self._guard.device)
        before = latent.rows(positions)
        encoded = self._encoder.encode_for_training(inputs, generator)
        loss = self._reader.learn(encoded, given, scaled)
        latent.put(positions, before)
        return loss

    def _filled(self, generator: torch.Generator) -> tuple[HostBatch, LatentBlock]:
        """Return the batch and its Z, filled by the first inner iteration."""
        assert self._batch is not None
        if self._latent is None:
            with self._guard.doing("fill"):
                self._latent = self._fill_in_training(self._batch, draw_seed(generator))
        return self._batch, self._latent

    def _fill_in_training(self, batch: HostBatch, seed: int) -> LatentBlock:
        """Return Z; keep the features of the global patches, if they run with the fill.

        Args:
            seed: of the random numbers that the backbone draws.
        """
        inputs = self._all_patches(batch, group=self._grid.num_patches)
        return self._block(self._encoder.encode_in_training(inputs, seed, LATENT))

    def _learn_image_by_image(
        self,
        batch: HostBatch,
        latent: LatentBlock,
        generator: torch.Generator,
        scaled: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Add the gradients of the batch's loss after each image, whose mean is taken (theirs adds
        up, which AdamW does not notice); return the mean loss.
        """
        num_images = len(batch)
        total = torch.zeros((), device=self._guard.device)
        for image in self._representative(range(num_images)):
            positions = self._sample(1, generator)[0]
            patches = self._grid.extract(batch.images[image], positions)
            encoded = self._encode_image(batch, image, patches, generator)
            where = torch.from_numpy(positions).to(self._guard.device)
            latent.put_of_image(image, where, encoded.features.detach())
            loss = self._reader.learn(
                self._as_seen(encoded, num_images),
                Pass(batch, np.zeros((num_images, 0), np.int64), self._joins, latent),
                lambda loss: scaled(loss / num_images),
            )
            total += loss / num_images
        return total

    _joins = False
    """Whether features of the sampled patches join Z as g."""

    def _encode_image(
        self, batch: HostBatch, image: int, patches: np.ndarray, generator: torch.Generator
    ) -> Encoded:
        """Return the features [k, F] of an image's sampled `patches`, uint8 [k, p, p, 3]."""
        inputs = Inputs.of(patches, group=len(patches))
        features = self._encoder.encode_in_training(inputs, draw_seed(generator))
        return Encoded(self._encoder, features, None)

    def _as_seen(self, encoded: Encoded, num_images: int) -> Encoded:
        """Return the inputs of the head's pass beside Z: none."""
        return encoded.seen_as(encoded.features[:0])


class Published(PublishedPatchGd, LocalGlobal):
    """Their method.

    - Classification: the resized image is added, pixel by pixel, to each sampled patch; the
      features of the last of these sums are g, for all images of the batch. The backbone learns
      through g alone.
    - Segmentation: g runs once per batch, in evaluation mode and without gradient.
    - Detection: g runs with the fill, as one more patch. The head learns from both, the backbone
      never. (Theirs takes one step for each batch, which is `inner_iterations: 1`.)
    """

    _joins = True

    def backward(
        self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor] = lambda loss: loss
    ) -> Tensor:
        """See `Method`."""
        if self._config.task != "detection":
            return super().backward(generator, scaled)
        batch, latent = self._filled(generator)
        nothing = latent.of_image(0)[:0].requires_grad_()
        none = np.zeros((len(batch), 0), np.int64)
        given = Pass(batch, none, False, latent, self._filled_global)
        return self._reader.learn(Encoded(self._encoder, nothing, None), given, scaled)

    def _fill_in_training(self, batch: HostBatch, seed: int) -> LatentBlock:
        if self._config.task == "detection":
            inputs = self._patches_and_wholes(batch)
            features = self._encoder.encode_in_training(inputs, seed, LATENT)
            by_image = features.unflatten(0, (len(batch), inputs.group))
            self._filled_global = by_image[:, -1]
            return LatentBlock(by_image[:, :-1], self._grid.num_rows, self._grid.num_cols)
        latent = super()._fill_in_training(batch, seed)
        if self._config.task == "segmentation":
            self._filled_global = self._global_features(batch)
        return latent

    def _patches_and_wholes(self, batch: HostBatch) -> Inputs:
        """Return every patch of an image, then the global patch, for one image after the other."""
        every = np.tile(np.arange(self._grid.num_patches), (len(batch), 1))
        pixels = batch.sampled(self._grid, every, with_whole=True)
        return Inputs.of(pixels, group=every.shape[1] + 1)

    def _encode_image(
        self, batch: HostBatch, image: int, patches: np.ndarray, generator: torch.Generator
    ) -> Encoded:
        whole = batch.resized(self._config.patch_size)[image : image + 1]
        inputs = replace(
            Inputs.of(patches, group=len(patches)),
            added=lambda start, stop: whole.repeat(stop - start, axis=0),
        )
        return self._encoder.encode_for_training(inputs, generator)

    def _as_seen(self, encoded: Encoded, num_images: int) -> Encoded:
        """Return the last of the sums as the global patch of every image."""
        last = encoded.features[-1:]
        return encoded.seen_as(last.expand(num_images, *last.shape[1:]))

    def influence(self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor]) -> None:
        """Nothing is measured: Z is not filled before the first inner iteration."""
        return
