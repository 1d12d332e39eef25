"""Does the cap end the right trials? Trials that fit and trials that do not, on the stub device.

    python benchmarks/cap_trials.py [--num 40]

A CUDA device without a GPU (tests/cuda_stub), on which torch's own allocator counts. Each trial
trains two batches of a small network under a budget that is drawn above what it needs, or below
what its tensors and the context take; meanwhile the context grows by a drawn amount, neighbours
come and go, and the driver lists the process by its own number, by another, or not at all. Prints
a table and writes it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cuda_stub.server import Stub  # noqa: E402  # found by the path above

MIB = 2**20
_PRECISIONS = ("fp32", "bf16", "fp16")
_OWN_ROWS = {"own number": 0, "another number": 1, "not listed": 2}


def main() -> None:
    """Run all trials and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--num", type=int, default=40, help="trials of each kind")
    parser.add_argument("--seed", type=int, default=0)
    out = Path(__file__).parent / "results" / "cap_trials.md"
    parser.add_argument("--out", type=Path, default=out)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    started = time.perf_counter()
    rows = []
    with tempfile.TemporaryDirectory() as folder, closing(Stub(Path(folder))) as stub:
        for number in range(2 * arguments.num):
            drawn = _drawn(draw, fits=number % 2 == 0)
            device = {"own_row": _OWN_ROWS[drawn["listed"]]}
            found = stub.run(run_trial, drawn, device=device, limit_s=180)
            rows.append({**drawn, **found})
            print(number + 1, rows[-1], flush=True)
    report = _report(rows, arguments.seed, time.perf_counter() - started)
    print(report)
    arguments.out.write_text(report)


def _drawn(draw: random.Random, *, fits: bool) -> dict[str, Any]:
    listed = draw.choice(list(_OWN_ROWS))
    growth_mib = draw.choice((0, 0, 50, 200, 400))
    neighbour_mib = draw.choice((0, 500, 9000))
    if listed == "not listed" and neighbour_mib:
        growth_mib, neighbour_mib = 0, 9000  # as a whole, a device does not tell one from the other
    return {
        "fits": fits,
        "listed": listed,
        "precision": draw.choice(_PRECISIONS),
        "share": draw.uniform(1.0, 1.3) if fits else draw.uniform(0.4, 0.95),
        "growth_bytes": growth_mib * MIB,
        "neighbour_bytes": neighbour_mib * MIB,
        "sampling_rate": draw.choice((0.1, 0.25, 0.5)),
        "batch_size": draw.choice((2, 4)),
    }


def run_trial(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Train under the drawn budget, in this process on the stub; return how it ended."""
    from dataclasses import replace

    import cuda_stub.ops  # noqa: F401
    import torch
    from cuda_stub.books import BOOKS

    from patchtrain.config import TrialConfig
    from patchtrain.doctor.trials import build_engine, random_batch
    from patchtrain.estimation.predict import estimate
    from patchtrain.memory.exceeded import BudgetExceeded
    from patchtrain.memory.facts import ASSUMED
    from patchtrain.memory.guards import guard_for

    config = TrialConfig(
        image_size=512,
        patch_size=64,
        sampling_rate=drawn["sampling_rate"],
        batch_size=drawn["batch_size"],
        inner_iterations=2,
        backbone="resnet18",
        precision=drawn["precision"],
        device="cuda",
    )
    # measures the context, as an earlier trial of the process does
    guard_for(torch.device("cuda"), None, config.precision).release()
    later_bytes = BOOKS.context_bytes + drawn["growth_bytes"]
    facts = replace(ASSUMED, name="Stub GPU", context_bytes=later_bytes, workspace_bytes=0)
    predicted = estimate(config, facts=facts)
    if drawn["fits"]:
        budget_bytes = int(predicted.needed_bytes * drawn["share"])
    else:
        budget_bytes = later_bytes + int(predicted.predicted_peak_bytes * drawn["share"])
    guard = guard_for(torch.device("cuda"), budget_bytes, config.precision)
    ended = "completed"
    try:
        with guard:
            engine = build_engine(config, guard)
            for seed in range(3):
                engine.train_batch(random_batch(config, seed), torch.Generator())
                if seed == 0:
                    BOOKS.context_bytes += drawn["growth_bytes"]
                    BOOKS.other_bytes += drawn["neighbour_bytes"]
            engine.predict(random_batch(config))
    except BudgetExceeded:
        ended = "out_of_memory"
    except Exception as error:
        ended = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return {
        "ended": ended,
        "level": guard.cap_level,
        "budget_bytes": budget_bytes,
        "over_bytes": BOOKS.process_bytes - budget_bytes,
    }


def _report(rows: list[dict[str, Any]], seed: int, seconds: float) -> str:
    lines = [
        "# Which trials the cap ends, on the stub device",
        "",
        f"`python benchmarks/cap_trials.py`, seed {seed}, {seconds / 60:.0f} minutes. resnet18, "
        "512 px in patches of 64 px, on a CUDA device without a GPU, where torch's own allocator "
        "counts. Where the driver does not list the process, its context does not grow while "
        "neighbours come: only their sum is seen.",
        "",
        "| the trial | completed | out_of_memory | failed |",
        "| --- | ---: | ---: | ---: |",
    ]
    for fits, name in ((True, "fits"), (False, "does not fit")):
        ends = Counter(row["ended"].split(":")[0] for row in rows if row["fits"] is fits)
        counts = (ends[kind] for kind in ("completed", "out_of_memory", "failed"))
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    lines += [
        "",
        "| fits | ended | level | precision | listed | budget / need | context grows, MiB | "
        "others take, MiB |",
        "| --- | --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = ["yes" if row["fits"] else "no", row["ended"], row["level"], row["precision"]]
        cells += [row["listed"], f"{row['share']:.2f}", row["growth_bytes"] // MIB]
        cells.append(row["neighbour_bytes"] // MIB)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
