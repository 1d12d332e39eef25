"""`tiled`: patches as images of their own, without context: the usual way with large images.

Shapes: B batch, m n grid, p patch side in px; O outputs of an image.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from patchtrain.config import TrialConfig
from patchtrain.grid.patches import tile_corners
from patchtrain.methods.base import MethodTools
from patchtrain.methods.sampled import SampledPatches
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Inputs, chunks_of
from patchtrain.tasks import PatchReader


class Tiled(SampledPatches):
    """Trains on sampled patches of the grid alone; predicts each patch by itself (they may overlap)
    and puts the predictions together.
    """

    _reader: PatchReader

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        assert isinstance(tools.reader, PatchReader), "the configuration refuses other tasks"
        super().__init__(config, tools)
        self._corners = tile_corners(config.image_size, config.patch_size, config.tile_overlap)

    def predict(self, batch: HostBatch) -> np.ndarray:
        """Return the outputs [B, O] of `batch`, every patch seen."""
        places = np.concatenate(
            [np.insert(self._corners, 0, image, axis=1) for image in range(len(batch))]
        )
        parts = []
        for first, last in self._representative(chunks_of(len(places), self._at_once(batch))):
            chunk = places[first:last]
            pixels = partial(_taken, batch, chunk, self._config.patch_size)
            features = self._encoder.encode(Inputs(len(chunk), pixels, group=1), len(chunk))
            parts.append(self._reader.read_patches(features, chunk))
            del features
        return self._reader.put_together(parts, len(batch))


def _taken(batch: HostBatch, places: np.ndarray, side_px: int, start: int, stop: int) -> np.ndarray:
    return batch.tiles(places[start:stop], side_px)
