"""Tasks: what is predicted, its loss and its metrics."""

from collections.abc import Callable, Mapping

from patchtrain.tasks.base import Task
from patchtrain.tasks.classification import Classification
from patchtrain.tasks.segmentation import Segmentation

__all__ = ["Classification", "Segmentation", "Task", "build_task"]

_TASKS: Mapping[str, Callable[[int], Task]] = {
    "classification": Classification,
    "segmentation": Segmentation,
}


def build_task(name: str, num_classes: int) -> Task:
    """Return the task `name`, into `num_classes` classes."""
    return _TASKS[name](num_classes)
