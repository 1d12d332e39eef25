"""The command line: what a sweep becomes, and bad input that ends before anything starts."""

import socket
import time

import pytest

from sweeps.panda_budget import SWEEP
from sweeps.plan import make_plan, parser
from sweeps.run import main

FAST = ["--smoke-test"]


def plan_of(*arguments):
    return make_plan(SWEEP, parser(SWEEP).parse_args(arguments))


def test_without_data_the_sample_preset_is_used():
    plan = plan_of()
    assert plan.space.base.data_dir is None
    assert plan.num_trials == SWEEP.sample.num_trials == 12
    assert len(plan.budgets_bytes) == 2


def test_with_data_the_defaults_are_the_papers(tmp_path):
    base = plan_of("--data-dir", str(tmp_path)).space.base
    assert (base.image_size, base.backbone, base.epochs) == (4096, "resnet50", 100)
    assert base.data_dir == str(tmp_path)


def test_options_and_settings_override_presets():
    plan = plan_of(
        *("--epochs", "7", "--image-size", "1000", "--backbone", "resnet18", "--seed", "5"),
        *("--set", "learning_rate=0.01", "--set", "epochs=9", "--budgets", "8GB", "4GiB"),
    )
    base = plan.space.base
    assert (base.epochs, base.image_size, base.backbone, base.seed) == (9, 1000, "resnet18", 5)
    assert base.learning_rate == 0.01
    assert plan.budgets_bytes == (4 * 2**30, 8 * 10**9)
    assert all(1000 % size == 0 for size in plan.space.choices("patch_size"))


def test_a_setting_of_the_space_that_is_given_stays_fixed():
    space = plan_of("--set", "fusion=concat", "--set", "patch_size=128").space
    assert set(space.distributions) == {"sampling_rate", "inner_iterations"}
    assert space.choices("patch_size") == (128,)


def test_paths_are_absolute_for_workers_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of("--data-dir", "panda", "--out", "here")
    assert plan.space.base.data_dir == str(tmp_path / "panda")
    assert plan.out == tmp_path / "here"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "8XB"], "--budgets='8XB' is not a memory size"),
        (["--budgets", "1GB", "1000MB"], "--budgets 1000MB is given twice"),
        (["--num-trials", "0"], "--num-trials 0 must be at least 1"),
        (["--num-trials", "many"], "invalid int value: 'many'"),
        (["--max-concurrent", "0"], "--max-concurrent 0 must be at least 1"),
        (["--gpu-memory", "-3GB"], "--gpu-memory"),
        (["--epochs", "0"], "epochs=0 must be at least 1"),
        (["--set", "sampling_rate=1.5"], "sampling_rate=1.5 must be above 0"),
        (["--set", "patch_size=300"], "patch_size=300"),
        (["--set", "no_such=1"], "no_such=1 is no setting"),
        (["--set", "budget=4GB"], "use --budgets"),
        (["--image-size", "37"], "image_size=37"),
        (["--image-size", "-1"], "image_size=-1 must be at least 1"),
        (["--backbone", "no_such_net"], "no_such_net"),
        (["--method", "no_such_method"], "no_such_method"),
        (["--method", "full"], "method='full' leaves nothing to search"),
        (["--data-dir", "no/such/folder"], "no/such/folder"),
        (["--resume"], "holds no sweep"),
        (["--no-such-option"], "unrecognized arguments"),
        (["--address", "nonsense"], "--address 'nonsense' is no address"),
        (["--address", "127.0.0.1:1"], "no Ray cluster answers"),
        (["--address", "ray://127.0.0.1:1"], "use `ray job submit`"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(SWEEP, [*FAST, "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not out.exists()


def test_an_address_where_something_else_listens_is_refused_in_time(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        started_at = time.monotonic()
        assert main(SWEEP, [*FAST, "--out", str(tmp_path / "run"), "--address", address]) == 2
    assert time.monotonic() - started_at < 30
    assert "no Ray cluster answers" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_data_without_its_table_ends_before_ray(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    out = tmp_path / "run"
    assert main(SWEEP, ["--data-dir", str(tmp_path / "data"), "--out", str(out)]) == 2
    assert "train.csv" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert main(SWEEP, [*FAST, "--out", str(tmp_path)]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
