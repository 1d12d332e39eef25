"""`patchtrain train|estimate|evaluate|sample-data|doctor`: from arguments to exit statuses.

Exit status: 0 done; 1 went wrong while running; 2 bad input (one line on stderr, nothing written);
3 the trial ran out of memory (its record is written); 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
`doctor` has statuses of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchtrain import __version__
from patchtrain.arguments import Parser
from patchtrain.errors import ConfigError, DataError, one_line
from patchtrain.interrupt import as_stopped, stoppable
from patchtrain.output import unbroken_output

EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_OUT_OF_MEMORY = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names; return its status."""
    with unbroken_output():
        try:
            with stoppable():
                return _status(argv)
        except KeyboardInterrupt as error:
            stopped = as_stopped(error)
            return _say(stopped.what, stopped.exit_status)


def _status(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
        return _run(arguments)
    except (ConfigError, DataError) as error:
        return _say(str(error), EXIT_BAD_INPUT)
    except Exception as error:
        if _is_out_of_memory(error):
            return _say(str(error), EXIT_OUT_OF_MEMORY)
        return _say(one_line(error), EXIT_FAILED)


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return False
    from patchtrain.memory.exceeded import BudgetExceeded

    return isinstance(error, BudgetExceeded)


def _run(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.run(arguments))
    except SystemExit as error:  # a part of the user's own gave up
        raise RuntimeError(f"a part called sys.exit({error.code!r})") from error


def _say(text: str, status: int) -> int:
    print(f"patchtrain: {' '.join(text.split())}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="patchtrain",
        description="Train one vision model on high-resolution images inside a memory budget.",
    )
    parser.add_argument("--version", action="version", version=f"patchtrain {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_train, _add_estimate, _add_evaluate, _add_sample_data, _add_doctor):
        add(commands)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train the trial that a YAML file describes")
    train.add_argument("config", type=Path, metavar="CONFIG.yaml")
    _add_settings(train)
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    train.add_argument("--resume", action="store_true", help="continue from the checkpoint in DIR")
    train.add_argument(
        "--skip-bad-images", action="store_true", help="skip images that cannot be read"
    )
    train.add_argument(
        "--drop-duplicates", action="store_true", help="of images with the same pixels, keep one"
    )
    train.set_defaults(run=_train)


def _add_estimate(commands: Any) -> None:
    estimate = commands.add_parser("estimate", help="predict the peak memory, without training")
    estimate.add_argument("config", type=Path, metavar="CONFIG.yaml")
    _add_settings(estimate)
    estimate.add_argument("--budget", metavar="SIZE", help="say whether it fits, e.g. 8GB")
    estimate.add_argument(
        "--max",
        dest="maximised",
        metavar="SETTING",
        help="find the largest sampling_rate, patch_size, batch_size or image_size that fits",
    )
    estimate.add_argument(
        "--quick", action="store_true", help="do not list the settings that lower the peak"
    )
    estimate.add_argument("--json", action="store_true", help="print JSON")
    estimate.set_defaults(run=_estimate)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure saved weights, write predictions")
    evaluate.add_argument(
        "folder", type=Path, metavar="DIR", help="folder that `train --out` wrote"
    )
    evaluate.add_argument("--data", type=Path, metavar="DIR2", help="another data folder")
    evaluate.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="images to measure on (default: val, or all if DIR2 has none of the trial's "
        "validation images)",
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="DIR3", help="folder of the predictions (default: DIR)"
    )
    evaluate.add_argument("--json", action="store_true", help="print the metrics as JSON")
    _add_settings(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_sample_data(commands: Any) -> None:
    sample = commands.add_parser("sample-data", help="write small generated data")
    sample.add_argument(
        "name",
        type=_sampled,
        metavar="NAME",
        help="data set whose layout to use; a wrong name lists the choices",
    )
    sample.add_argument("out", type=Path, metavar="OUT", help="new or empty folder")
    sample.add_argument("--num-images", type=int, default=48, help="default 48")
    sample.add_argument("--image-size", type=int, default=512, help="longer side in px")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="coco-mosaic only: build the mosaics from the images in this folder",
    )
    sample.add_argument(
        "--mnist-dir",
        type=Path,
        metavar="DIR",
        help="ultramnist only: take the digits from MNIST's four idx files in this folder",
    )
    sample.add_argument(
        "--num-classes",
        type=int,
        help="ultramnist only: sums of 0 to this less 1, 28 (default) or 10 (PatchGD's variant)",
    )
    sample.add_argument("--jobs", type=int, metavar="N", help="ultramnist only: processes")
    sample.set_defaults(run=_sample_data)


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor", help="check whether the memory budget of this machine's GPU is real"
    )
    doctor.add_argument("--device", default="cuda:0", metavar="cuda:N", help="default cuda:0")
    doctor.add_argument(
        "--quick", action="store_true", help="leave out the checks that train for long"
    )
    doctor.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the findings as JSON; in a folder, named after GPU, driver and torch",
    )
    doctor.set_defaults(run=_doctor)


def _sampled(name: str) -> str:
    from patchtrain.datasets import sampled_names

    name = name.replace("-", "_")
    if name not in sampled_names():
        raise argparse.ArgumentTypeError(
            f"there is no sample data for {name!r}; use one of {', '.join(sampled_names())}"
        )
    return name


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting of the configuration; may be repeated",
    )


# Commands import what they need when they run, so that `--help` and argument errors answer at once.


def _train(arguments: argparse.Namespace) -> int:
    from patchtrain.commands.train import train

    flags = ("skip_bad_images", "drop_duplicates")
    overrides = [
        *arguments.overrides,
        *(f"{name}=true" for name in flags if getattr(arguments, name)),
    ]
    return train(arguments.config, overrides, arguments.out, resume=arguments.resume)


def _estimate(arguments: argparse.Namespace) -> int:
    from patchtrain.commands.estimate import estimate

    return estimate(
        arguments.config,
        arguments.overrides,
        budget=arguments.budget,
        maximised=arguments.maximised,
        quick=arguments.quick,
        as_json=arguments.json,
    )


def _evaluate(arguments: argparse.Namespace) -> int:
    from patchtrain.commands.evaluate import evaluate

    return evaluate(
        arguments.folder,
        arguments.data,
        split=arguments.split,
        overrides=arguments.overrides,
        as_json=arguments.json,
        out=arguments.out,
    )


def _sample_data(arguments: argparse.Namespace) -> int:
    from patchtrain.commands.sample_data import sample_data

    return sample_data(
        arguments.name,
        arguments.out,
        num_images=arguments.num_images,
        image_size=arguments.image_size,
        seed=arguments.seed,
        data_dir=arguments.data,
        mnist_dir=arguments.mnist_dir,
        num_classes=arguments.num_classes,
        jobs=arguments.jobs,
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from patchtrain.doctor.command import doctor

    return doctor(arguments.device, is_quick=arguments.quick, out=arguments.out)


if __name__ == "__main__":
    sys.exit(main())
