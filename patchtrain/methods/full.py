"""`full`: the whole image at full size through an ordinary classifier."""

from __future__ import annotations

import numpy as np

from patchtrain.batch import HostBatch
from patchtrain.methods.downsampled import Downsampled


class Full(Downsampled):
    """Trains on every pixel at once: the reference, as far as memory goes."""

    def _whole_images(self, batch: HostBatch) -> np.ndarray:
        return np.stack(batch.images)
