"""Readers: what becomes of features. One file a task, one contract (`base.Reader`)."""

from patchtrain.config import TrialConfig
from patchtrain.readers.base import Pass, PatchReader, Reader, ReaderTools
from patchtrain.readers.classification import ClassificationReader
from patchtrain.readers.detection import DetectionReader
from patchtrain.readers.segmentation import SegmentationReader
from patchtrain.tasks import Classification, Detection, Segmentation, Task

__all__ = ["Pass", "PatchReader", "Reader", "ReaderTools", "build_reader"]


def build_reader(config: TrialConfig, tools: ReaderTools, task: Task) -> Reader:
    """Return the reader of `task`."""
    if isinstance(task, Detection):
        return DetectionReader(config, tools)
    if isinstance(task, Segmentation):
        return SegmentationReader(config, tools, task)
    assert isinstance(task, Classification)
    return ClassificationReader(config, tools, task)
