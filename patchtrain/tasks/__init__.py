"""Tasks: what is predicted, its loss and its metrics."""

from patchtrain.config import TrialConfig
from patchtrain.tasks.base import Task
from patchtrain.tasks.classification.metrics import Classification
from patchtrain.tasks.detection.metrics import Detection
from patchtrain.tasks.segmentation.metrics import Segmentation

__all__ = ["Classification", "Detection", "Segmentation", "Task", "build_task"]


def build_task(config: TrialConfig, num_classes: int) -> Task:
    """Return the task of `config`, into `num_classes` classes."""
    if config.task == "detection":
        return Detection(
            num_classes,
            image_size=config.image_size,
            area_ranges=config.area_ranges,
            max_detections=config.max_detections,
        )
    if config.task == "segmentation":
        return Segmentation(num_classes)
    return Classification(num_classes)
