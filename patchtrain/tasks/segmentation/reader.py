"""Reads feature maps, some patches at a time: aggregator and loss never see a whole image at once.

The loss of an image follows from sums over its pixels (see `metrics`). A first pass over the pieces
of an image adds these up without gradient, which gives dL/dsums; a second pass runs each piece with
that gradient. So only one piece is alive at a time, and the gradient is that of all pixels.

Shapes: B batch, N inputs of a pass, M image side in px, p patch side in px, d channels of features,
c cells of a piece, C channels of outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.grid.latent import LatentBlock
from patchtrain.grid.patches import PatchGrid
from patchtrain.grid.resizing import enlargement
from patchtrain.memory.meter import LATENT
from patchtrain.step.encoder import Chunk, Encoded, chunks_of
from patchtrain.tasks.base import Pass, PatchReader, ReaderTools, Scaled
from patchtrain.tasks.segmentation.metrics import Segmentation

PIECE_PX = 2**16
"""Pixels of a piece, unless a patch is larger: enough to keep a device busy, and less memory than
the backbone's activations for as many pixels."""


def cells_at_once(patch_size: int) -> int:
    """Return how many cells of a grid are read at once."""
    return max(1, PIECE_PX // patch_size**2)


class _Piece(NamedTuple):
    """Cells of one image that are read at once."""

    cells: np.ndarray
    """Their numbers in the grid, [c]."""
    rows: slice | None
    """Rows of their features among those of the pass; None: they are in Z, without gradient."""


class SegmentationReader(PatchReader):
    """The class of every pixel."""

    def __init__(self, config: TrialConfig, tools: ReaderTools, task: Segmentation) -> None:
        super().__init__(config, tools)
        self._task = task
        cell_px = config.input_side_px
        side_px = config.image_size if config.samples_patches else cell_px
        self._cells = PatchGrid(side_px, side_px, cell_px)
        self._cells_at_once = cells_at_once(self._cells.patch_size)
        self._enlarge: Tensor | None = None
        """[M, p]: makes a line of the image from a line of the resized image."""
        if config.method_facts.has_global or side_px < config.image_size:
            weights = enlargement(config.patch_size, config.image_size)
            self._enlarge = self._feeder.constants(weights, LATENT)

    def learn(self, encoded: Encoded, given: Pass, scaled: Scaled) -> Tensor:
        """See `Reader`."""
        features = encoded.features.detach()
        with self._guard.doing("head"):
            gradient = torch.zeros_like(features)
            total = torch.zeros((), device=features.device)
            for image in self._representative(range(len(given.batch))):
                total += self._learn_image(image, features, gradient, given, scaled)
            total /= len(given.batch)
        encoded.backward_from(gradient)
        self._put_sampled(features, given)
        return total

    def joining(self, global_features: Tensor) -> Tensor:
        """Return the features [d, p, p] of a global patch as they join Z."""
        return super().joining(global_features.movedim(0, -1)).movedim(-1, 0)

    def read_whole(self, features: Tensor) -> np.ndarray:
        """Return the classes uint8 [B, M, M] given `features` [B, d, h, w]."""
        outputs = self.blank_outputs(len(features))
        for image in self._representative(range(len(features))):
            with self._autocast():
                logits = self._network.head(features[image : image + 1])
            if logits.shape[-1] == self._config.image_size:
                outputs[image] = self._to_host(self._task.classes(logits))[0]
            else:
                self._read_enlarged(logits.float(), outputs[image])
        return outputs

    def read_latent(self, latent: LatentBlock, global_features: Tensor | None) -> np.ndarray:
        """Return the classes uint8 [B, M, M] given Z and the global features [B, d, p, p]."""
        outputs = self.blank_outputs(latent.num_images)
        for image in self._representative(range(latent.num_images)):
            whole = None if global_features is None else global_features[image]
            for start, stop in self._parts(self._cells.num_patches):
                cells = np.arange(start, stop)
                classes = self._classes(self._in_latent(latent, image, cells), whole, cells)
                self._cells.paste(classes, cells, outputs[image, ..., None])
        return outputs

    def read_patches(
        self, features: Tensor, places: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the places [c, 3] and classes uint8 [c, p, p, 1] of patches, piece by piece, given
        their `features` [N, d, h, w].
        """
        return [
            (places[start:stop], self._classes(features[start:stop], None, np.zeros(0, np.int64)))
            for start, stop in self._parts(len(features))
        ]

    def put_together(
        self, parts: Sequence[list[tuple[np.ndarray, np.ndarray]]], num_images: int
    ) -> np.ndarray:
        """Return the classes uint8 [B, M, M] of images from those of their patches."""
        outputs = self.blank_outputs(num_images)
        side = self._cells.patch_size
        for places, classes in (piece for part in parts for piece in part):
            for (image, top, left), patch in zip(places, classes, strict=True):
                outputs[image, top : top + side, left : left + side] = patch[..., 0]
        return outputs

    def blank_outputs(self, num_images: int) -> np.ndarray:
        """Return classes uint8 [B, M, M] that are all 0."""
        side = self._config.image_size
        return np.zeros((num_images, side, side), np.uint8)

    # --- training ---

    def _learn_image(
        self, image: int, features: Tensor, gradient: Tensor, given: Pass, scaled: Scaled
    ) -> Tensor:
        """Add the gradients of one image to the head's parameters and to `gradient` [N, d, h, w];
        return the image's loss.
        """
        pieces = list(self._pieces(image, given))
        context = given.global_of(image, features)
        sums = torch.zeros(self._task.num_sums, device=features.device)
        with torch.no_grad():
            for piece in pieces:
                sums += self._sums(
                    piece, self._tiles(piece, image, features, given), context, image, given
                )
        sums.requires_grad_()
        loss = self._task.loss_of(sums)
        scaled(loss / len(given.batch)).backward()
        assert sums.grad is not None
        if given.has_global:
            assert context is not None
            context = context.detach().requires_grad_()
        for piece in pieces:
            tiles = self._tiles(piece, image, features, given)
            if piece.rows is not None:
                tiles = tiles.detach().requires_grad_()
            self._sums(piece, tiles, context, image, given).backward(sums.grad)
            if piece.rows is not None:
                gradient[piece.rows] = tiles.grad  # type: ignore[assignment]
        if given.has_global:
            gradient[given.global_row(image)] = context.grad  # type: ignore[assignment,union-attr]
        return loss.detach()

    def _pieces(self, image: int, given: Pass) -> Iterator[_Piece]:
        """Yield the cells of an image: first those that only Z has, then those of this pass."""
        first = image * given.inputs_per_image
        if given.positions is None:
            yield _Piece(np.zeros(1, np.int64), slice(first, first + 1))
            return
        sampled = given.positions[image]
        if given.latent is not None:
            rest = np.setdiff1d(np.arange(self._cells.num_patches), sampled)
            for start, stop in self._parts(len(rest)):
                yield _Piece(rest[start:stop], None)
        for start, stop in self._parts(len(sampled)):
            yield _Piece(sampled[start:stop], slice(first + start, first + stop))

    def _parts(self, num: int) -> Sequence[Chunk]:
        return self._representative(chunks_of(num, self._cells_at_once))

    def _tiles(self, piece: _Piece, image: int, features: Tensor, given: Pass) -> Tensor:
        """Return the features [c, d, h, w] of `piece`."""
        if piece.rows is not None:
            return features[piece.rows]
        assert given.latent is not None
        return self._in_latent(given.latent, image, piece.cells)

    def _in_latent(self, latent: LatentBlock, image: int, cells: np.ndarray) -> Tensor:
        return latent.of_cells(image, self._feeder.targets(cells))

    def _sums(
        self, piece: _Piece, tiles: Tensor, context: Tensor | None, image: int, given: Pass
    ) -> Tensor:
        targets = given.batch.masks(image, self._cells, piece.cells)
        outputs = self._read(tiles, context, piece.cells)
        return self._task.sums(outputs, self._feeder.targets(targets))

    # --- reading ---

    def _read(self, tiles: Tensor, context: Tensor | None, cells: np.ndarray) -> Tensor:
        """Return the head's outputs [c, C, p, p] for `tiles` [c, d, h, w] at `cells`, joined with
        the global features `context` [d, p, p].
        """
        with self._autocast():
            if context is not None:
                assert self._network.fusion is not None
                tiles = self._network.fusion(tiles, self._enlarged(context, cells))
            return self._network.head(tiles)

    def _classes(self, tiles: Tensor, context: Tensor | None, cells: np.ndarray) -> np.ndarray:
        """Return the classes of what `_read` returns, on the host, uint8 [c, p, p, 1]."""
        return self._to_host(self._task.classes(self._read(tiles, context, cells)))[..., None]

    def _enlarged(self, context: Tensor, cells: np.ndarray) -> Tensor:
        """Return the part at `cells` of `context` [d, p, p] enlarged to M x M: [c, d, p, p]."""
        assert self._enlarge is not None
        rows, cols = np.divmod(cells, self._cells.num_cols)
        weights = self._enlarge.unflatten(0, (self._cells.num_rows, -1))
        down, across = (weights[self._feeder.targets(at)][:, None] for at in (rows, cols))
        return down @ context @ across.transpose(-1, -2)

    def _read_enlarged(self, logits: Tensor, classes: np.ndarray) -> None:
        """Put the classes of `logits` [1, C, p, p], enlarged to M x M, into `classes` [M, M]."""
        assert self._enlarge is not None
        rows_at_once = max(1, PIECE_PX // self._config.image_size)
        for start, stop in self._representative(chunks_of(len(classes), rows_at_once)):
            strip = self._enlarge[start:stop] @ logits @ self._enlarge.T
            classes[start:stop] = self._to_host(self._task.classes(strip))[0]
