"""Reads feature pyramids: runs the detector's head on the maps of patches, to learn and to predict.

Layouts of Z: `tile` lays the maps of all patches out on the grid, so that the head sees the image
at full resolution; in training it runs where the sampled patches lie (see `windows`). `stack`, the
paper's, stacks the maps of all patches as channels: one map of a patch's size, in which each cell
holds the features that all patches have at this place within them.

Shapes: B batch, N inputs of a pass, m n grid, k sampled, d features, K classes; c pieces read at
once; L cells of an input and W of a window, over all levels; T candidates, D detections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.datasets.targets.boxes import Objects
from patchtrain.grid.latent import LatentBlock
from patchtrain.grid.resizing import enlargement_of_cells
from patchtrain.memory.meter import INPUT, LATENT
from patchtrain.step.encoder import Encoded, chunks_of
from patchtrain.tasks.base import Pass, PatchReader, ReaderTools, Scaled
from patchtrain.tasks.detection.assignment import Assigned, locations, visible
from patchtrain.tasks.detection.detectors import DetectionHead, Levels, as_maps
from patchtrain.tasks.detection.finding import Finder, cut_to
from patchtrain.tasks.detection.head import Locations, Outputs
from patchtrain.tasks.detection.windows import Windows

PIECE_PX = 2**18
"""Pixels of the patches whose windows are read at once, unless one patch is larger."""

_WHOLE = np.zeros(1, np.int64)
"""The one cell of a map that is read whole."""

SCRAMBLED = "scrambled"
"""The layout of the authors' code, see `scrambled`."""


def windows_at_once(patch_size: int) -> int:
    """Return how many patches' windows are read at once."""
    return max(1, PIECE_PX // patch_size**2)


def layout_of(config: TrialConfig) -> str | None:
    """Return how Z is laid out; None for methods that keep no Z."""
    if not config.method_facts.has_latent:
        return None
    return SCRAMBLED if config.method_facts.scrambles_maps else config.layout


class Piece(NamedTuple):
    """The part of an image that is read at once: some patches, or all of it."""

    cells: np.ndarray
    """Grid positions of the patches, [c]; one zero for a whole image."""
    assigned: Assigned
    """What their locations should find, [c, L]."""
    rows: slice | None = None
    """Rows of their features among those of the pass, if these are read alone."""


class Lesson(NamedTuple):
    """A training pass, and where its gradient goes."""

    given: Pass
    features: Tensor
    """[N, L, d], without gradient."""
    gradient: Tensor
    """[N*L + 1, d]: the last row takes the gradients of cells that were not sampled."""
    share: float
    """Weight of a location's loss in the loss of the pass."""
    scaled: Scaled

    @property
    def by_input(self) -> Tensor:
        """The gradient as [N, L, d]."""
        return self.gradient[:-1].view_as(self.features)


class DetectionReader(PatchReader):
    """Boxes, classes and scores of objects."""

    def __init__(self, config: TrialConfig, tools: ReaderTools) -> None:
        super().__init__(config, tools)
        assert isinstance(tools.network.head, DetectionHead)
        self._head = tools.network.head
        side_px = config.input_side_px
        self._levels = Levels(side_px)
        layout = layout_of(config)
        self._is_tile = layout == "tile"
        self._is_one_map = layout in ("stack", SCRAMBLED)
        is_cut = config.samples_patches and not self._is_one_map
        self._grid_size = config.grid_size if is_cut else 1
        self._scale = config.image_size / (self._grid_size * side_px)
        """Px of the image for each px in which locations are counted."""
        self._windows = Windows(self._levels, self._grid_size, self._head.objects.halo_cells)
        self._at_once = windows_at_once(config.patch_size)
        strides = np.repeat(self._levels.strides, np.square(self._levels.sides))
        self._strides = self._feeder.constants(strides.astype(np.float32), LATENT)
        self._finder = Finder(
            config,
            tools,
            head=self._head.objects,
            sides=self._levels.sides,
            strides=self._strides,
            scale=self._scale,
        )
        self._enlarge: list[Tensor] = []
        """For each level [m*h, h]: makes a line of the tiled map from a line of the global map."""
        if self._is_tile and config.method_facts.has_global:
            for stride, side in zip(self._levels.strides, self._levels.sides, strict=True):
                weights = enlargement_of_cells(side, self._grid_size, stride)
                self._enlarge.append(self._feeder.constants(weights, LATENT))

    def learn(self, encoded: Encoded, given: Pass, scaled: Scaled) -> Tensor:
        """See `Reader`. The loss is summed over all locations that are read and divided by the
        number of those that answer for an object, as in torchvision's FCOS.
        """
        features = encoded.features.detach()
        with self._guard.doing("head"):
            pieces = [list(self._pieces(image, given)) for image in range(len(given.batch))]
            num_found = sum(piece.assigned.num_found for parts in pieces for piece in parts)
            share = 1 / max(1, num_found)
            self._put_sampled(features, given)
            gradient = features.new_zeros((features[..., 0].numel() + 1, features.shape[-1]))
            lesson = Lesson(given, features, gradient, share, scaled)
            learn_image = self._learn_one_map if self._is_one_map else self._learn_pieces
            total = torch.zeros((), device=features.device)
            for image in self._representative(range(len(given.batch))):
                total += learn_image(image, pieces[image], lesson)
        encoded.backward_from(lesson.by_input)
        return total

    def read_whole(self, features: Tensor) -> np.ndarray:
        """Return the detections float32 [B, D, 6] given `features` [B, L, d]; see `Detection`."""
        outputs = self._finder.no_detections(len(features))
        for image in self._representative(range(len(features))):
            outputs_of_head = self._read(features[image : image + 1])
            outputs[image] = self._finder.detections(
                [self._finder.candidates(outputs_of_head, self._places(_WHOLE))]
            )
        return outputs

    def read_latent(self, latent: LatentBlock, global_features: Tensor | None) -> np.ndarray:
        """Return the detections [B, D, 6] given Z and the global features [B, L, d]."""
        outputs = self._finder.no_detections(latent.num_images)
        for image in self._representative(range(latent.num_images)):
            whole = None if global_features is None else global_features[image]
            found = []
            if self._is_one_map:
                stacked = self._one_map(latent.of_image(image), whole, None)
                found.append(self._finder.candidates(self._read(stacked), self._places(_WHOLE)))
            else:
                for start, stop in self._parts(self._config.num_patches):
                    cells = np.arange(start, stop)
                    tiles = self._in_latent(latent, image, cells)
                    outputs_of_head = self._read_windows(tiles, whole, cells)
                    found.append(self._finder.candidates(outputs_of_head, self._places(cells)))
            outputs[image] = self._finder.detections(found)
        return outputs

    def read_patches(
        self, features: Tensor, places: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the images [c] of patches and their candidates [c, T, 6], piece by piece, given
        the patches' `features` [N, L, d].
        """
        parts = []
        own = locations(self._windows.regions(0))
        for start, stop in self._parts(len(features)):
            piece = places[start:stop]
            corners = piece[:, None, [2, 1]].astype(np.float32)
            candidates = self._finder.candidates(self._read(features[start:stop]), own + corners)
            patches = np.concatenate([corners, corners + self._config.patch_size], axis=-1)
            parts.append((piece[:, 0], cut_to(candidates, patches)))
        return parts

    def put_together(
        self, parts: Sequence[list[tuple[np.ndarray, np.ndarray]]], num_images: int
    ) -> np.ndarray:
        """Return the detections [B, D, 6] of images from the candidates of their patches."""
        by_image: list[list[np.ndarray]] = [[] for _ in range(num_images)]
        for images, candidates in (piece for part in parts for piece in part):
            for image, found in zip(images, candidates, strict=True):
                by_image[image].append(found)
        outputs = self._finder.no_detections(num_images)
        for image, found_in_image in enumerate(by_image):
            if found_in_image:  # a dry run leaves patches out
                outputs[image] = self._finder.detections(found_in_image)
        return outputs

    # --- training ---

    def _pieces(self, image: int, given: Pass) -> Iterator[Piece]:
        """Yield the pieces of an image that are read in training."""
        objects = given.batch.objects(image)
        first = image * given.inputs_per_image
        if given.positions is None or self._is_one_map:
            objects = objects.moved(objects.boxes / self._scale)
            yield self._piece(_WHOLE, [objects], slice(first, first + 1))
            return
        sampled = given.positions[image]
        for start, stop in self._parts(len(sampled)):
            cells = sampled[start:stop]
            seen = [objects] * len(cells)
            if not self._is_tile:
                seen = [visible(objects, box) for box in self._patch_boxes(cells)]
            yield self._piece(cells, seen, slice(first + start, first + stop))

    def _piece(self, cells: np.ndarray, objects: Sequence[Objects], rows: slice) -> Piece:
        found = [
            self._head.objects.assign(seen, self._windows.regions(cell))
            for cell, seen in zip(cells, objects, strict=True)
        ]
        labels, boxes = (np.stack(values) for values in zip(*map(_values, found), strict=True))
        return Piece(cells, Assigned(labels, boxes), rows)

    def _learn_pieces(self, image: int, pieces: Sequence[Piece], lesson: Lesson) -> Tensor:
        """Add the gradients of one image, read piece by piece, to the head's parameters and to the
        lesson's gradient; return the image's part of the loss.
        """
        given, features, by_input = lesson.given, lesson.features, lesson.by_input
        context = given.global_of(image, features)
        if given.has_global:
            assert context is not None
            context = context.detach().requires_grad_()
        total = torch.zeros((), device=features.device)
        for piece in pieces:
            if self._is_tile:
                assert given.latent is not None
                tiles = self._in_latent(given.latent, image, piece.cells).requires_grad_()
                outputs = self._read_windows(tiles, context, piece.cells)
            else:
                tiles = features[piece.rows].detach().requires_grad_()
                outputs = self._read(tiles)
            loss = self._loss(outputs, piece) * lesson.share
            del outputs
            lesson.scaled(loss).backward()
            total += loss.detach()
            assert tiles.grad is not None
            if self._is_tile:
                places = self._feeder.targets(self._rows_of(piece.cells, image, given))
                lesson.gradient.index_add_(0, places.flatten(), tiles.grad.flatten(0, 1))
            else:
                by_input[piece.rows] = tiles.grad
            del tiles
        if given.has_global:
            by_input[given.global_row(image)] = context.grad  # type: ignore[assignment,union-attr]
        return total

    def _learn_one_map(self, image: int, pieces: Sequence[Piece], lesson: Lesson) -> Tensor:
        """Do the same as `_learn_pieces` for a layout that is read whole."""
        given = lesson.given
        assert given.positions is not None and given.latent is not None
        (piece,) = pieces
        first, k = image * given.inputs_per_image, given.positions.shape[1]
        rows = slice(first, first + given.inputs_per_image)
        own = lesson.features[rows].detach().requires_grad_()
        context = own[k] if given.has_global else given.global_of(image, lesson.features)
        stacked = self._one_map(
            given.latent.of_image(image), context, (given.positions[image], own[:k])
        )
        loss = self._loss(self._read(stacked), piece) * lesson.share
        del stacked
        lesson.scaled(loss).backward()
        lesson.by_input[rows] = own.grad  # type: ignore[assignment]
        return loss.detach()

    def _loss(self, outputs: Outputs, piece: Piece) -> Tensor:
        places = self._feeder.constants(self._places(piece.cells), INPUT)
        where = Locations(places, self._strides)
        labels = self._feeder.targets(piece.assigned.labels)
        boxes = self._feeder.constants(piece.assigned.boxes, INPUT)
        return self._head.objects.loss(outputs, labels, boxes, where)

    def _rows_of(self, cells: np.ndarray, image: int, given: Pass) -> np.ndarray:
        """Return the row of a pass's N*L rows to which the gradient of each cell of the windows at
        `cells` [c] belongs, int64 [c, W]; N*L if the cell's patch was not sampled.
        """
        assert given.positions is not None
        num_cells = self._levels.num_cells
        nowhere = len(given.batch) * given.inputs_per_image
        inputs = np.full(self._config.num_patches, nowhere, np.int64)
        sampled = given.positions[image]
        inputs[sampled] = image * given.inputs_per_image + np.arange(len(sampled))
        patches, inside = np.divmod(self._windows.sources(cells), num_cells)
        rows = inputs[patches]
        return np.where(rows < nowhere, rows * num_cells + inside, nowhere * num_cells)

    # --- reading ---

    def _parts(self, num: int) -> Sequence[tuple[int, int]]:
        return self._representative(chunks_of(num, self._at_once))

    def _in_latent(self, latent: LatentBlock, image: int, cells: np.ndarray) -> Tensor:
        """Return the features [c, W, d] of the windows at `cells` [c]."""
        sources = self._feeder.targets(self._windows.sources(cells))
        rows = latent.of_image(image).flatten(0, 1).index_select(0, sources.flatten())
        return rows.unflatten(0, sources.shape)

    def _read(self, features: Tensor) -> Outputs:
        """Return the head's outputs [c, L, ...] for `features` [c, L, d]."""
        with self._autocast():
            return self._head(as_maps(features, self._levels.sides))

    def _read_windows(self, tiles: Tensor, context: Tensor | None, cells: np.ndarray) -> Outputs:
        """Return the head's outputs [c, L, ...] for the patches at `cells`, given the features
        [c, W, d] of their windows, which are joined with the global features `context` [L, d].
        """
        head = self._head
        assert head.join is not None
        with self._autocast():
            maps = as_maps(tiles, self._windows.sides)
            if context is not None:
                assert self._network.fusion is not None
                around = self._enlarged(context, cells)
                maps = [
                    self._network.fusion(own, whole)
                    for own, whole in zip(maps, around, strict=True)
                ]
            outputs = head([head.join(level) for level in maps])
        own = self._feeder.targets(self._windows.own(cells))[..., None]
        return type(outputs)(
            *(values.gather(1, own.expand(-1, -1, values.shape[-1])) for values in outputs)
        )

    def _enlarged(self, context: Tensor, cells: np.ndarray) -> list[Tensor]:
        """Return, for each level, the part [c, d, w, w] of the global map, enlarged to the tiled
        map, that lies in the windows at `cells` [c].
        """
        maps = []
        by_level = context.split([side**2 for side in self._levels.sides])
        for level, (weights, values) in enumerate(zip(self._enlarge, by_level, strict=True)):
            side = self._levels.sides[level]
            lines = self._windows.lines(cells, level)
            down, across = (weights[self._feeder.targets(numbers)] for numbers in lines)
            rows = (down @ values.view(side, -1)).unflatten(-1, (side, -1))
            maps.append((across[:, None] @ rows).permute(0, 3, 1, 2))
        return maps

    def _one_map(
        self,
        tiles: Tensor,
        context: Tensor | None,
        sampled: tuple[np.ndarray, Tensor] | None,
    ) -> Tensor:
        """Return the single map [1, L, d] that a convolution makes from all patches' `tiles`
        [mn, L, d] and the global features `context` [L, d].

        Args:
            sampled: the sampled patches [k] and their features [k, L, d] with gradient.
        """
        join = self._head.join
        assert join is not None and join.bias is not None
        num_tiles, num_features = len(tiles), tiles.shape[-1]
        weights = join.weight.flatten(1).unflatten(1, (-1, num_features))
        rest = np.arange(num_tiles)
        parts = []
        if sampled is not None:
            rest = np.setdiff1d(rest, sampled[0])
            parts.append(sampled)
        if len(rest):
            chosen = self._feeder.targets(rest)
            parts.append((rest, tiles.index_select(0, chosen)))
        with self._autocast():
            total: Tensor = join.bias
            for numbers, values in parts:
                part = weights.index_select(1, self._feeder.targets(numbers)).flatten(1)
                total = total + torch.nn.functional.linear(values.transpose(0, 1).flatten(1), part)
            if context is not None:
                part = weights[:, :num_tiles].sum(1)
                if self._config.fusion == "concat":
                    part = weights[:, num_tiles]
                assert self._network.fusion is not None
                context = self._network.fusion.scaled(context)
                total = total + torch.nn.functional.linear(context, part)
        return total[None]

    def _places(self, cells: np.ndarray) -> np.ndarray:
        """Return x and y of the locations of the patches at `cells` [c], float32 [c, L, 2]."""
        return np.stack([locations(self._windows.regions(cell)) for cell in cells])

    def _patch_boxes(self, cells: np.ndarray) -> np.ndarray:
        """Return the boxes of patches, in px, [c, 4]."""
        rows, cols = np.divmod(cells, self._config.grid_size)
        corners = np.stack([cols, rows, cols + 1, rows + 1], axis=-1)
        return corners * self._config.patch_size


def _values(assigned: Assigned) -> tuple[np.ndarray, np.ndarray]:
    return assigned.labels, assigned.boxes
