"""Progress of a trial on a terminal: a bar for each epoch, and one line that stays."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from patchtrain.epoch import Progress
from patchtrain.record import EpochRecord
from patchtrain.tasks.segmentation.confusion import IMAGE_PREFIX, UNDEFINED_SUFFIX
from patchtrain.units import format_bytes


def metrics_text(metrics: Mapping[str, float | None]) -> str:
    """Return the metrics over all images as text; per-image metrics are only in the files."""
    return "  ".join(
        f"{name} {'undefined' if value is None else f'{value:.4f}'}"
        for name, value in metrics.items()
        if not name.startswith(IMAGE_PREFIX) and not name.endswith(UNDEFINED_SUFFIX)
    )


class TrialProgress:
    """Shows batches done, images/s, loss, and current and peak memory against the budget."""

    def __init__(self, num_epochs: int, budget_bytes: int | None, *, quiet: bool = False) -> None:
        self._num_epochs = num_epochs
        self._budget = "no budget" if budget_bytes is None else format_bytes(budget_bytes)
        self._console = Console(highlight=False, soft_wrap=True, quiet=quiet)
        is_shown = self._console.is_terminal or self._console.is_jupyter
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            transient=True,
            disable=quiet or not is_shown,
        )
        self._task = self._bars.add_task("starting", total=None, facts="")
        self._epoch = 1

    def __enter__(self) -> TrialProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start_epoch(self, epoch: int) -> None:
        """Show the batches that follow as part of `epoch` (1 for the first)."""
        self._epoch = epoch

    def on_batch(self, progress: Progress) -> None:
        """Show that a batch is done."""
        doing = "validating" if progress.validating else "training"
        loss = "" if progress.loss is None else f"loss {progress.loss:.3f}  "
        self._bars.update(
            self._task,
            description=f"epoch {self._epoch}/{self._num_epochs} {doing}",
            completed=progress.batches_done,
            total=progress.num_batches,
            facts=(
                f"{progress.images_per_s:.3g} images/s  {loss}"
                f"memory {format_bytes(progress.live_bytes)}, "
                f"peak {format_bytes(progress.peak_bytes)} of {self._budget}"
            ),
        )

    def on_epoch(self, epoch: EpochRecord) -> None:
        """Print a line about a finished epoch."""
        metric = "undefined" if epoch.metric is None else f"{epoch.metric:.4f}"
        self.say(
            f"epoch {epoch.epoch}/{self._num_epochs}  loss {epoch.train_loss:.4f}  "
            f"{epoch.metric_name} {metric}  {epoch.images_per_s:.3g} images/s  "
            f"peak {format_bytes(epoch.peak_allocated_bytes)} of {self._budget}"
        )

    def say(self, line: str) -> None:
        """Print `line` above the bar, where it stays."""
        self._console.print(line, markup=False)
