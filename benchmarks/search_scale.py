"""Search and run folder with 10,000 finished trials: time to suggest, to resume; size.

    python benchmarks/search_scale.py

Makes a RUN_DIR of 10,000 trials that were never trained: proposed at random by `BudgetSearch`, with
made-up metrics and peaks, written and told as the sweep does. What is then timed is the real thing:
opening that folder, the study over it, and the proposals of a TPE search that knows all of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from patchtrain.config import TrialConfig
from patchtrain.record import EpochRecord, TrialRecord, TrialStatus
from patchtrain.units import format_bytes
from sweeps.results.journal import open_storage
from sweeps.results.records import unstarted_record
from sweeps.results.store import RunFolder
from sweeps.search.budget_search import BudgetSearch, Suggestion
from sweeps.search.patch_space import patch_space
from sweeps.search.space import Space

RESULT = Path(__file__).parent / "results" / "search_scale.md"
GB = 10**9
BUDGETS = (4 * GB, 8 * GB, 16 * GB, 24 * GB)
NUM_EPOCHS = 5
SUGGEST_GOAL_S, RESUME_GOAL_S = 1.0, 30.0


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """A prediction without a network: memory grows with the pixels that get gradients."""

    needed_bytes: int

    @property
    def predicted_peak_bytes(self) -> int:
        """What tensors would take."""
        return self.needed_bytes

    @property
    def predicted_reserved_bytes(self) -> int:
        """The same."""
        return self.needed_bytes

    def fits(self, budget_bytes: int) -> bool:
        """Whether a budget holds it."""
        return self.needed_bytes <= budget_bytes


def predict(config: TrialConfig) -> MadeUp:
    """Return a made-up prediction for `config`."""
    return MadeUp(GB // 2 + 400 * config.num_sampled * config.patch_size**2 * config.batch_size)


def main(argv: Sequence[str] | None = None) -> None:
    """Fill a run folder, then time what a user waits for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--suggestions", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args(argv)
    base = TrialConfig(image_size=4096, backbone="resnet50", epochs=NUM_EPOCHS)
    space = patch_space(base, varied={"learning_rate": None, "backbone": ("resnet18", "resnet50")})
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "run"
        start = time.perf_counter()
        fill(path, space, arguments.trials)
        print(f"filled in {time.perf_counter() - start:.0f} s", flush=True)
        start = time.perf_counter()
        folder, search = open_search(path, space, "tpe", arguments.trials + arguments.suggestions)
        resume_s = time.perf_counter() - start
        print(f"resumed in {resume_s:.1f} s", flush=True)
        seconds = []
        for _ in range(arguments.suggestions):
            start = time.perf_counter()
            suggestion = search.ask()
            seconds.append(time.perf_counter() - start)
            assert suggestion is not None
            record_trial(folder, search, space, suggestion)
        statuses = Counter(record.status.value for record in folder.records())
        folder.close()
        report = _report(path, statuses, resume_s, seconds)
    print(report)
    arguments.out.write_text(report)


def open_search(
    path: Path, space: Space, sampler: str, num_trials: int
) -> tuple[RunFolder, BudgetSearch]:
    """Return folder and search as a sweep opens them, new or resumed."""
    folder = RunFolder(path)
    folder.open({"sweep": "scale"})

    def refuse(suggestion: Suggestion, prediction: Any) -> TrialRecord:
        record = _record(space, suggestion, TrialStatus.PREDICTED_INFEASIBLE)
        record = dataclasses.replace(record, predicted_peak_bytes=prediction.predicted_peak_bytes)
        folder.add_config(record.trial_id, space.config(suggestion.params, suggestion.budget_bytes))
        folder.add_record(record)
        return record

    search = BudgetSearch(
        space,
        BUDGETS,
        num_trials=num_trials,
        sweep="scale",
        storage=open_storage(folder.journal_path),
        finished=folder.records(),
        checkpoints=folder.checkpoints.found(),
        sampler=sampler,
        predict=predict,
        refuse=refuse,
    )
    return folder, search


def fill(path: Path, space: Space, num_trials: int) -> None:
    """Make a folder of a sweep with this many trials launched and ended."""
    folder, search = open_search(path, space, "random", num_trials)
    while (suggestion := search.ask()) is not None:
        record_trial(folder, search, space, suggestion)
    folder.close()


def record_trial(
    folder: RunFolder, search: BudgetSearch, space: Space, suggestion: Suggestion
) -> None:
    """Write and tell a trial as the sweep does once it has ended."""
    config = space.config(suggestion.params, suggestion.budget_bytes)
    peak = predict(config).needed_bytes
    metric = 1 - math.exp(-config.sampling_rate * 4) - 0.1 * abs(math.log2(config.patch_size / 192))
    trial_id = suggestion.trial_id
    record = dataclasses.replace(
        _record(space, suggestion, TrialStatus.COMPLETED),
        **{"metric": metric, "peak_allocated_bytes": peak, "predicted_peak_bytes": peak},
        **{"epochs_done": NUM_EPOCHS, "metrics": {"accuracy": metric}},
    )
    folder.add_config(trial_id, config)
    for epoch in range(1, NUM_EPOCHS + 1):
        row = EpochRecord(
            trial_id=trial_id,
            epoch=epoch,
            train_loss=1 / epoch,
            learning_rate=config.learning_rate,
            metric_name="accuracy",
            metric=metric * epoch / NUM_EPOCHS,
            peak_allocated_bytes=peak,
            train_time_s=1.0,
            validation_time_s=0.1,
            images_per_s=10.0,
        )
        folder.add_epoch(row.to_row())
    folder.add_record(record)
    search.tell(record)


def _record(space: Space, suggestion: Suggestion, status: TrialStatus) -> TrialRecord:
    config = space.config(suggestion.params, suggestion.budget_bytes)
    name = suggestion.trial_id
    made = unstarted_record(config, name, "scale", RuntimeError("none"), group=name)
    return dataclasses.replace(
        made, status=status, error=None, started_at=datetime.now(timezone.utc)
    )


def _report(path: Path, statuses: Counter[str], resume_s: float, seconds: Sequence[float]) -> str:
    sizes: Counter[str] = Counter()
    blocks: Counter[str] = Counter()
    for file in path.rglob("*"):
        if file.is_file():
            name = file.relative_to(path).parts[0]
            sizes[name] += file.stat().st_size
            blocks[name] += file.stat().st_blocks * 512
    versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "numpy", "pyarrow"))
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    return "\n".join(
        [
            "# Search and run folder with many trials",
            "",
            f"`python benchmarks/search_scale.py`: {counts}; {len(BUDGETS)} budgets, "
            f"{NUM_EPOCHS} epochs a trial. The trials were made up, not trained.",
            "",
            "| what | measured | goal |",
            "| --- | --- | --- |",
            f"| a proposal (TPE), median of {len(seconds)} | {statistics.median(seconds):.2f} s | "
            f"{SUGGEST_GOAL_S:.0f} s |",
            f"| a proposal, slowest | {max(seconds):.2f} s | {SUGGEST_GOAL_S:.0f} s |",
            f"| resume: folder and search ready | {resume_s:.1f} s | {RESUME_GOAL_S:.0f} s |",
            "",
            "| in RUN_DIR | bytes | on disk |",
            "| --- | --- | --- |",
            *(
                f"| {name} | {format_bytes(size)} | {format_bytes(blocks[name])} |"
                for name, size in sizes.most_common()
                if size
            ),
            f"| all | {format_bytes(sizes.total())} | {format_bytes(blocks.total())} |",
            "",
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs; "
            f"Python {platform.python_version()}, {versions}",
            "",
        ]
    )


if __name__ == "__main__":
    main()
