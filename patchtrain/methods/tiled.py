"""`tiled`: patches as images of their own, without context: what is usually done with large ones.

Shapes: B batch, m n grid, p patch side in px; O outputs of an image.
"""

from __future__ import annotations

import numpy as np

from patchtrain.batch import HostBatch
from patchtrain.config import TrialConfig
from patchtrain.methods.base import MethodTools
from patchtrain.methods.sampled import SampledPatches
from patchtrain.microbatch import Inputs, chunks_of
from patchtrain.readers import PatchReader


class Tiled(SampledPatches):
    """Trains on sampled patches alone; predicts each patch by itself and puts them together."""

    _reader: PatchReader

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        assert isinstance(tools.reader, PatchReader), "the configuration refuses other tasks"
        super().__init__(config, tools)

    def predict(self, batch: HostBatch) -> np.ndarray:
        """Return the outputs [B, O] of `batch`, every patch seen."""
        parts = []
        num = len(batch) * self._grid.num_patches
        for first, last in self._representative(chunks_of(num, self._at_once(batch))):
            inputs = Inputs(
                last - first,
                lambda start, stop, first=first: batch.cells(  # type: ignore[misc]
                    self._grid, first + start, first + stop
                ),
                group=1,
            )
            features = self._encoder.encode(inputs, inputs.num)
            parts.append(self._reader.read_patches(features, first))
            del features
        return self._reader.put_together(parts, len(batch))
