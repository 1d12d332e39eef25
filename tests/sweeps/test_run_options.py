"""The command line: what a sweep becomes, and bad input that ends before anything starts."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import grpc  # of ray[default]
import pytest
from image_data import grey_image, half_mask, write

from patchtrain.errors import ConfigError, DataError
from sweeps import aerial_budget
from sweeps.checks import check_trials
from sweeps.options import parser
from sweeps.panda_budget import SWEEP
from sweeps.plan import make_plan
from sweeps.results.store import RunFolder
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
        *("--set", "learning_rate=0.01", "--set", "epochs=9", "--budgets", "4GiB", "8GB"),
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


def test_settings_beside_the_four_are_varied_as_asked_for():
    space = plan_of(
        *("--vary", "learning_rate", "--vary", "sampling_rate=0.1:0.3"),
        *("--vary", "backbone=test_resnet,resnet18", "--vary", "method=local_global,downsampled"),
    ).space
    assert set(space.distributions) == {
        *("patch_size", "sampling_rate", "inner_iterations", "fusion"),
        *("learning_rate", "backbone", "method"),
    }
    assert space.choices("backbone") == ("test_resnet", "resnet18")
    assert space.values("sampling_rate", 2) == [0.1, 0.3]


def test_what_was_asked_for_is_described_for_those_who_come_later(tmp_path):
    earlier = sweep_in(tmp_path / "earlier")
    plan = plan_of(
        *("--sampler", "nsga2", "--scheduler", "asha", "--seeds", "3", "--num-trials", "5"),
        *("--warm-start", str(earlier), "--seed", "9"),
    )
    described = plan.description()
    assert {name: described[name] for name in ("sampler", "scheduler", "num_seeds")} == {
        "sampler": "nsga2",
        "scheduler": "asha",
        "num_seeds": 3,
    }
    assert (described["num_trials"], described["seed"]) == (5, 9)
    assert described["warm_start"] == [str(earlier)]
    assert json.loads(json.dumps(described)) == described


def sweep_in(path, *arguments):
    """Return the folder of a sweep in which no trial has ended."""
    folder = RunFolder(path)
    folder.open(plan_of(*arguments).description())
    folder.close()
    return path


def test_an_earlier_sweep_is_found_from_the_folder_of_the_command(tmp_path, monkeypatch):
    sweep_in(tmp_path / "earlier")
    monkeypatch.chdir(tmp_path)
    (known,) = plan_of("--warm-start", "earlier").known
    assert known.run_dir == tmp_path / "earlier"


def test_the_papers_configurations_lead_the_sweep_where_it_has_some():
    plan = plan_of("--include-paper-configs")  # at 512 px, as the sample preset has it
    (first,) = plan.first
    config = plan.space.config(first)
    assert (config.patch_size, config.sampling_rate, config.inner_iterations) == (128, 0.2, 4)
    assert plan_of().first == ()


def test_a_budget_that_some_of_the_networks_fit_is_accepted():
    # parameters, gradients and optimizer of `local_global` take 19 MB, without aggregator 6 MB
    plan = plan_of("--budgets", "8MB", "--vary", "method=local_global,downsampled")
    assert plan.budgets_bytes == (8_000_000,)
    with pytest.raises(ConfigError, match=r"budget=8MB is below the 19\.\d+MB .* raise it, or"):
        plan_of("--budgets", "8MB")
    with pytest.raises(ConfigError, match=r"budget=1MB is below the 6\.\d+MB "):
        plan_of("--budgets", "1MB", "--vary", "method=local_global,downsampled")


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        (
            ["--vary", "learning_rate"],
            ["--vary", "learning_rate=1e-5:1e-2"],
            "space.learning_rate.attributes.low=0.0001, this command 1e-05",
        ),
        (
            ["--vary", "backbone=test_resnet,resnet18"],
            ["--vary", "backbone=resnet18,test_resnet"],
            'space.backbone.attributes.choices=["test_resnet", "resnet18"], this command ["resnet',
        ),
        ([], ["--vary", "precision"], "space.precision=null, this command {"),
        (["--vary", "precision"], [], "space.precision={"),
        (
            [],
            ["--set", "fusion=add"],
            'space.fusion.attributes={"choices": ["add", "concat"]}, this command null',
        ),
        (["--budgets", "4GB", "8GB"], ["--budgets", "4GB"], "budgets_bytes=[4000000000, 80"),
        (["--epochs", "2"], ["--epochs", "4"], "settings.epochs=2, this command 4"),
    ],
)
def test_a_sweep_cannot_be_resumed_over_another_space_and_says_why(
    before, now, difference, tmp_path
):
    folder = RunFolder(sweep_in(tmp_path / "run", *before))
    folder.check(True, plan_of(*before).description())
    with pytest.raises(ConfigError) as error:
        folder.check(True, plan_of(*now).description())
    assert f"the sweep in {folder.path} has {difference}" in str(error.value)
    assert str(error.value).endswith("; give the same value, or another --out")


def test_how_a_space_is_searched_may_change_on_resume(tmp_path):
    folder = RunFolder(sweep_in(tmp_path / "run"))
    now = ["--sampler", "grid", "--scheduler", "mo-asha", "--seeds", "2", "--num-trials", "99"]
    now += ["--include-paper-configs", "--max-concurrent", "1"]
    folder.check(True, plan_of(*now).description())


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
        (["--budgets", "4GB", "4000MB"], "--budgets 4000MB is given twice (4000000000 bytes)"),
        (["--budgets", "8GB", "4GiB"], "--budgets 8GB 4GiB: must ascend; write --budgets 4GiB 8GB"),
        (["--num-trials", "-3"], "--num-trials -3 must be at least 1; raise it"),
        (["--seeds", "0"], "--seeds 0 must be at least 1; raise it"),
        (["--seeds", "two"], "invalid int value: 'two'"),
        (
            ["--sampler", "bayes"],
            "--sampler bayes: unknown; use one of tpe, nsga2, gp, random, grid",
        ),
        (["--scheduler", "pbt"], "--scheduler pbt: unknown; use one of none, asha, mo-asha"),
        (["--tracker", "comet"], "--tracker 'comet' is unknown; use one of mlflow, wandb"),
        (["--vary", "momentum"], "--vary momentum: unknown; use one of patch_size, "),
        (["--vary", "backbone"], "--vary backbone: needs values; write --vary backbone=A,B"),
        (
            ["--vary", "fusion=[add"],
            "--vary fusion=[add: cannot read '[add' as a value; write NAME=A,B,C",
        ),
        (["--vary", "method=1:2"], "--vary method: takes no range LOW:HIGH; write"),
        (
            ["--vary", "fusion", "--vary", "fusion=add"],
            "--vary fusion is given twice; give it once",
        ),
        (["--vary", "fusion", "--set", "fusion=add"], "--vary fusion: is fixed by another option"),
        (["--vary", "method", "--method", "full"], "--vary method: is fixed by another option"),
        (["--vary", "learning_rate=1e-2:1e-3"], "a range is LOW:HIGH with 0 < LOW < HIGH, e.g."),
        (["--vary", "backbone=test_resnet,no_such_net"], "no_such_net"),
        (["--vary", "patch_size=100"], "patch_size=100 does not divide image_size=256; use one"),
        (
            ["--include-paper-configs"],
            "--include-paper-configs: the paper has no panda configuration at image_size=256; "
            "use --image-size 512 or 2048 or 4096, or leave it out",
        ),
        (
            ["--include-paper-configs", "--image-size", "512", "--method", "downsampled"],
            "none of the paper's configurations at image_size=512 lies in the space",
        ),
        (["--warm-start", "no/such/sweep"], "no/such/sweep: holds no readable sweep"),
        (["--num-trials", "many"], "invalid int value: 'many'"),
        (["--max-concurrent", "0"], "--max-concurrent 0 must be at least 1"),
        (["--gpu-memory", "-3GB"], "--gpu-memory"),
        (["--epochs", "0"], "epochs=0 must be at least 1"),
        (["--set", "sampling_rate=1.5"], "sampling_rate=1.5 must be above 0"),
        (["--set", "patch_size=300"], "patch_size=300"),
        (["--set", "no_such=1"], "no_such=1 is not a setting"),
        (["--set", "budget=4GB"], "use --budgets"),
        (["--image-size", "37"], "image_size=37"),
        (["--image-size", "-1"], "image_size=-1 must be at least 1"),
        (["--backbone", "no_such_net"], "no_such_net"),
        (["--method", "no_such_method"], "no_such_method"),
        (["--method", "full"], "method='full' leaves nothing to search"),
        (["--data-dir", "no/such/folder"], "no/such/folder"),
        (["--resume"], "holds no sweep"),
        (["--no-such-option"], "unrecognized arguments"),
        (["--address", "nonsense"], "--address 'nonsense' is not an address"),
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


def small_pairs(folder, num=6):
    """Write pairs of an image of 40 x 60 px and its mask."""
    for index in range(num):
        write(folder / "images" / f"{index}.png", grey_image())
        write(folder / "masks" / f"{index}.png", half_mask())
    return folder


def test_images_smaller_than_the_patches_of_larger_ones_are_masks_to_learn_from(tmp_path):
    plan = make_plan(
        aerial_budget.SWEEP,
        parser(aerial_budget.SWEEP).parse_args(
            [
                *("--data-dir", str(small_pairs(tmp_path)), "--image-size", "256"),
                *("--set", "dataset=image_masks", "--set", "encoder=resnet18"),
            ]
        ),
    )
    assert max(plan.space.choices("patch_size")) > 60
    data = check_trials(plan)
    assert data.num_train + data.num_val == 6


def slides(folder, sizes):
    """Write a slide of each side in px, all of one grade."""
    rows = ["image_id,data_provider,isup_grade,gleason_score"]
    for index, side in enumerate(sizes):
        write(folder / "train_images" / f"{index}.tiff", grey_image(side, side))
        rows.append(f"{index},radboud,1,3+3")
    (folder / "train.csv").write_text("\n".join(rows))
    return folder


def test_slides_are_not_left_out_of_some_trials_only(tmp_path):
    options = ["--data-dir", str(slides(tmp_path, [300] * 5 + [40])), "--image-size", "256"]
    options += ["--skip-bad-images", "--backbone", "test_resnet"]
    with pytest.raises(DataError, match="1 images smaller than patch_size=128 would be left out"):
        check_trials(plan_of(*options))
    data = check_trials(plan_of(*options, "--vary", "patch_size=64"))
    assert data.num_train + data.num_val == 5


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert main(SWEEP, [*FAST, "--out", str(tmp_path)]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_sweep_does_not_learn_from_itself_nor_twice_from_another(tmp_path):
    with pytest.raises(ConfigError, match=r"--warm-start .*here: is the --out of this sweep"):
        plan_of(
            "--out", str(tmp_path / "here"), "--warm-start", str(tmp_path / "x" / ".." / "here")
        )


def test_seeds_beyond_the_last_one_are_refused_before_the_search():
    with pytest.raises(ConfigError, match=r"--seeds 2, from 2147483647 on: seed=2147483648"):
        plan_of("--seed", "2147483647", "--seeds", "2")


def test_an_empty_size_of_a_gpu_is_refused():
    with pytest.raises(ConfigError, match="--gpu-memory"):
        plan_of("--gpu-memory", "")


def test_a_server_that_is_not_rays_is_no_cluster(tmp_path, capsys):
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert (
            main(SWEEP, [*FAST, "--out", str(tmp_path / "a"), "--address", f"127.0.0.1:{port}"])
            == 2
        )
    finally:
        server.stop(0)
    assert "no Ray cluster answers" in capsys.readouterr().err
