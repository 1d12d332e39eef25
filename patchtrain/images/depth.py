"""From samples of up to 16 bits to 8 bits, and which values were met on the way."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchtrain.errors import DataError


class ValueRange(NamedTuple):
    """The numbers in a file that become black and white."""

    low: int
    high: int


class ValuesSeen(NamedTuple):
    """The smallest and largest colour value of an image of more than 8 bits, and what is white."""

    low: int
    high: int
    white: int


class Depth:
    """Turns the colours of one file into 8 bits.

    Args:
        path: of the file, for messages.
        bits: of a sample, up to 16.
        declared_white: the largest value as the file itself declares it (TIFF's MaxSampleValue);
            None: all that the bits can hold.

    Attributes:
        seen: what was met so far; None for 8 bits and less.
    """

    def __init__(self, path: Path, bits: int, declared_white: int | None = None) -> None:
        self._path = path
        self._bits = bits
        self._declared = declared_white if bits > 8 else None
        self._range = ValueRange(0, self._declared or 2**bits - 1)
        self.seen: ValuesSeen | None = None

    def use(self, value_range: ValueRange) -> None:
        """Make `value_range` black and white if samples have more than 8 bits."""
        if self._bits > 8:
            self._declared = None
            self._range = value_range

    def to_uint8(self, samples: np.ndarray) -> np.ndarray:
        """Return colour samples as 8 bits: `low` and below become 0, `high` and above 255.

        Raises:
            DataError: a value is above the one that the file declares as its largest.
        """
        if self._bits > 8:
            self._note(samples)
        if self._range == (0, 2**self._bits - 1):
            return scaled(samples, self._bits)
        low, high = self._range
        inside = samples.astype(np.int64).clip(low, high) - low
        return ((inside * 255 + (high - low) // 2) // (high - low)).astype(np.uint8)

    def _note(self, samples: np.ndarray) -> None:
        low, high = int(samples.min()), int(samples.max())
        if self._declared is not None and high > self._declared:
            raise DataError(
                f"{self._path}: has values up to {high}, but declares {self._declared} as its "
                f"largest (MaxSampleValue); correct the file, or set value_range=0:{high}"
            )
        if self.seen is not None:
            low, high = min(low, self.seen.low), max(high, self.seen.high)
        self.seen = ValuesSeen(low, high, self._range.high)


def scaled(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return samples of `bits` bits as 8-bit samples: the highest value becomes 255."""
    if bits == 8:
        return samples
    highest = 2**bits - 1
    return ((samples.astype(np.uint32) * 255 + highest // 2) // highest).astype(np.uint8)
