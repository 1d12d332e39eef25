"""The commands as a person runs them: statuses, files and one-line refusals.

Longer than 400 lines because they share one trained trial.
"""

from __future__ import annotations

import csv
import errno
import json
import re
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from patchtrain.cli import main
from patchtrain.config import TrialConfig
from patchtrain.interrupt import Stopped
from patchtrain.record import read_json, read_rows
from patchtrain.trainer import Trainer

SETTINGS = {
    "image_size": 128,
    "patch_size": 32,
    "inner_iterations": 1,
    "backbone": "test_resnet",
    "aggregator": "small_cnn",
    "batch_size": 4,
    "epochs": 2,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "panda"
    arguments = ["--num-images", "24", "--image-size", "160", "--seed", "3"]
    assert main(["sample-data", "panda", str(folder), *arguments]) == 0
    return folder


@pytest.fixture
def config_path(data_dir, tmp_path) -> Path:
    path = tmp_path / "trial.yaml"
    path.write_text(yaml.safe_dump(SETTINGS | {"data_dir": str(data_dir)}))
    return path


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "trial.yaml").write_text(yaml.safe_dump(SETTINGS | {"data_dir": str(data_dir)}))
    out = folder / "out"
    assert main(["train", str(folder / "trial.yaml"), "--out", str(out)]) == 0
    return out


def test_train_leaves_everything_it_promises(trained, data_dir):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "record.json",
        "epochs.parquet",
        "config.yaml",
        "checkpoint",
        "memory.png",
        "split.csv",
    }
    checkpoint = {path.name for path in (trained / "checkpoint").iterdir()}
    assert checkpoint == {"model.safetensors", "optimizer.pt", "state.json"}
    record = read_json(trained / "record.json")
    assert (record.status.value, record.epochs_done, record.trial_id) == ("completed", 2, "out")
    assert not record.data_is_sample
    assert len(read_rows(trained / "epochs.parquet")) == 2
    assert TrialConfig.load(trained / "config.yaml").data_dir == str(data_dir)


def test_the_written_configuration_trains_the_same_again(trained, tmp_path):
    again = tmp_path / "again"
    assert main(["train", str(trained / "config.yaml"), "--out", str(again)]) == 0
    one, other = read_json(trained / "record.json"), read_json(again / "record.json")
    assert one.metrics == other.metrics
    assert one.peak_allocated_bytes == other.peak_allocated_bytes


def test_evaluate_gives_the_recorded_metrics_and_their_predictions(trained, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    record = read_json(trained / "record.json")
    assert {name: printed[name] for name in record.metrics} == record.metrics
    table = pq.read_table(trained / "predictions.parquet").to_pandas()
    assert len(table) == record.num_val_images == printed["num_images"]
    accuracy = float((table.predicted == table.target).mean())
    assert accuracy == pytest.approx(record.metric, abs=1e-6)
    probabilities = table[[f"probability_{k}" for k in range(6)]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == table.predicted).all()


def test_evaluate_on_a_copy_measures_the_same_split(trained, data_dir, tmp_path, capsys):
    copy = tmp_path / "moved"
    copy.symlink_to(data_dir)
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--data", str(copy), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["split"] == "val"
    assert printed["accuracy"] == read_json(trained / "record.json").metric


def test_evaluate_on_other_slides_measures_all_of_them(trained, tmp_path, capsys):
    other = tmp_path / "other"
    main(
        [
            "sample-data",
            "panda",
            str(other),
            "--num-images",
            "7",
            "--image-size",
            "128",
            "--seed",
            "8",
        ]
    )
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--data", str(other), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["split"], printed["num_images"]) == ("all", 7)
    assert main(["evaluate", str(trained), "--data", str(other), "--split", "val"]) == 2
    assert "use --split all" in capsys.readouterr().err


def test_resume_after_a_cut_ends_like_the_uninterrupted_trial(
    trained, config_path, tmp_path, monkeypatch
):
    from patchtrain.trainer import Trainer

    whole = Trainer.run_epoch

    def cut(self, on_batch=None):
        if self.epochs_done == 1:
            raise KeyboardInterrupt
        return whole(self, on_batch)

    out = tmp_path / "out"
    monkeypatch.setattr(Trainer, "run_epoch", cut)
    assert main(["train", str(config_path), "--out", str(out)]) == 130
    assert not (out / "record.json").exists()
    monkeypatch.setattr(Trainer, "run_epoch", whole)
    assert main(["train", str(config_path), "--out", str(out), "--resume"]) == 0
    one, other = read_json(trained / "record.json"), read_json(out / "record.json")
    assert one.metrics == other.metrics
    rows = read_rows(out / "epochs.parquet")
    assert [row["epoch"] for row in rows] == [1, 2]
    losses = [row["train_loss"] for row in read_rows(trained / "epochs.parquet")]
    assert [row["train_loss"] for row in rows] == losses


def _stopping_after(num_batches, monkeypatch):
    """Have training stop in its second epoch, as a signal would; return what undoes that."""
    whole = Trainer.run_epoch

    def stop(progress):
        if progress.batches_done == num_batches:
            raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(
        Trainer,
        "run_epoch",
        lambda self, on_batch: whole(self, stop if self.epochs_done == 1 else on_batch),
    )
    return lambda: monkeypatch.setattr(Trainer, "run_epoch", whole)


def test_a_trial_that_is_stopped_within_an_epoch_goes_on_there(
    trained, config_path, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    go_on = _stopping_after(2, monkeypatch)
    assert main(["train", str(config_path), "--out", str(out)]) == 143
    assert "after epoch 1 and 2 batches of the next; continue with" in capsys.readouterr().out
    go_on()
    assert main(["train", str(config_path), "--out", str(out), "--resume"]) == 0
    losses = [row["train_loss"] for row in read_rows(trained / "epochs.parquet")]
    assert [row["train_loss"] for row in read_rows(out / "epochs.parquet")] == losses
    one, other = read_json(trained / "record.json"), read_json(out / "record.json")
    assert one.metrics == other.metrics


def test_an_epoch_that_cannot_be_saved_is_lost_and_no_more(
    trained, config_path, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    go_on = _stopping_after(2, monkeypatch)
    save = Trainer.save

    def full(self, folder):
        if self.batches_done:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        save(self, folder)

    monkeypatch.setattr(Trainer, "save", full)
    assert main(["train", str(config_path), "--out", str(out)]) == 143
    assert "after epoch 1; the epoch after it is lost (" in capsys.readouterr().out
    go_on()
    monkeypatch.setattr(Trainer, "save", save)
    assert main(["train", str(config_path), "--out", str(out), "--resume"]) == 0
    losses = [row["train_loss"] for row in read_rows(trained / "epochs.parquet")]
    assert [row["train_loss"] for row in read_rows(out / "epochs.parquet")] == losses


class Cut(NamedTuple):
    """A trial on data of its own that was stopped after its first epoch."""

    data: Path
    out: Path
    resume: list[str]

    def rewrite(self, change) -> None:
        """Rewrite the lines of train.csv below the header."""
        header, *lines = (self.data / "train.csv").read_text().splitlines()
        (self.data / "train.csv").write_text("\n".join([header, *change(lines)]) + "\n")

    @property
    def first_image(self) -> Path:
        return min((self.data / "train_images").iterdir())


@pytest.fixture
def cut_trial(data_dir, tmp_path) -> Cut:
    data, out, config = tmp_path / "data", tmp_path / "out", tmp_path / "trial.yaml"
    shutil.copytree(data_dir, data)
    config.write_text(yaml.safe_dump(SETTINGS | {"data_dir": str(data), "skip_bad_images": True}))
    with pytest.MonkeyPatch.context() as patch:
        whole = Trainer.run_epoch

        def cut(self, on_batch=None):
            if self.epochs_done == 1:
                raise KeyboardInterrupt
            return whole(self, on_batch)

        patch.setattr(Trainer, "run_epoch", cut)
        assert main(["train", str(config), "--out", str(out)]) == 130
    return Cut(data, out, ["train", str(config), "--out", str(out), "--resume"])


def test_resume_keeps_its_own_split_when_images_were_added(cut_trial, caplog):
    before = (cut_trial.out / "split.csv").read_text()
    first = cut_trial.first_image
    for number in range(9):
        pixels = np.full((160, 160, 3), 20 * number, np.uint8)
        Image.fromarray(pixels).save(first.with_name(f"{number}{first.suffix}"))
    cut_trial.rewrite(lambda lines: [*(f"{n},radboud,{n % 6},0+0" for n in range(9)), *lines])
    assert main(cut_trial.resume) == 0
    assert (cut_trial.out / "split.csv").read_text() == before
    assert "9 images that the trial in" in caplog.text
    record = read_json(cut_trial.out / "record.json")
    assert record.num_train_images + record.num_val_images == 24


def _remove_row(cut):
    cut.rewrite(lambda lines: lines[1:])


def _remove_image(cut):
    cut.first_image.unlink()


def _damage_image(cut):
    cut.first_image.write_bytes(b"II*")


def _change_label(cut):
    def change(lines):
        image_id, provider, grade, *rest = lines[0].split(",")
        return [",".join([image_id, provider, str((int(grade) + 1) % 6), *rest]), *lines[1:]]

    cut.rewrite(change)


def _replace_image(cut):
    Image.fromarray(np.zeros((160, 200, 3), np.uint8)).save(cut.first_image)


@pytest.mark.parametrize(
    "change, what",
    [
        (_remove_row, "cannot be used any more"),
        (_remove_image, "cannot be used any more"),
        (_damage_image, "cannot be used any more"),
        (_change_label, "or their labels changed"),
        (_replace_image, "or their labels changed"),
    ],
)
def test_resume_refuses_data_that_changed(cut_trial, capsys, change, what):
    before = {path: path.read_bytes() for path in cut_trial.out.rglob("*") if path.is_file()}
    change(cut_trial)
    assert main(cut_trial.resume) == 2
    assert re.search(f"1 images of the trial in .* {what}: ", capsys.readouterr().err)
    assert before == {p: p.read_bytes() for p in cut_trial.out.rglob("*") if p.is_file()}


def test_resuming_a_finished_trial_does_nothing(trained, config_path, capsys):
    before = (trained / "record.json").read_bytes()
    assert main(["train", str(config_path), "--out", str(trained), "--resume"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert (trained / "record.json").read_bytes() == before
    changed = ["--set", "learning_rate=0.5"]
    assert main(["train", str(config_path), *changed, "--out", str(trained), "--resume"]) == 2


def test_out_of_memory_exits_3_and_is_recorded(config_path, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", str(config_path), "--set", "budget=24MB", "--out", str(out)]) == 3
    record = read_json(out / "record.json")
    assert record.status.value == "out_of_memory"
    assert record.budget_bytes == 24 * 10**6 < record.predicted_peak_bytes
    said = capsys.readouterr()
    assert "over the budget of 24MB; see `patchtrain estimate`" in said.out
    assert said.err.startswith("patchtrain: out_of_memory: out of memory in ")
    assert said.err.count("\n") == 1


def test_a_budget_below_the_networks_is_refused_with_what_they_need(config_path, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", str(config_path), "--set", "budget=6MB", "--out", str(out)]) == 2
    err = capsys.readouterr().err
    needed = int(re.search(r"\((\d+) bytes\)", err)[1])
    assert err.startswith("patchtrain: budget=6MB is below the ")
    assert not out.exists()
    assert main(["train", str(config_path), "--set", f"budget={needed}", "--out", str(out)]) == 3


def test_the_prediction_is_the_peak(trained):
    record = read_json(trained / "record.json")
    assert record.predicted_peak_bytes == record.peak_allocated_bytes
    assert record.predicted_reserved_bytes >= record.predicted_peak_bytes


def estimated(config_path, capsys, *arguments) -> dict:
    capsys.readouterr()
    assert main(["estimate", str(config_path), "--json", "--quick", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_auto_trains_within_a_budget_that_all_patches_at_once_exceed(config_path, tmp_path, capsys):
    many = ("--set", "norm=group", "--set", "sampling_rate=1.0")
    whole = estimated(config_path, capsys, *many)["predicted_peak_bytes"]
    least = estimated(config_path, capsys, *many, "--set", "patch_microbatch=1")
    budget = (whole + least["predicted_peak_bytes"]) // 2
    auto = (*many, "--set", "patch_microbatch=auto", "--set", f"budget={budget}")
    chosen = estimated(config_path, capsys, *auto)["patch_microbatch"]
    out = tmp_path / "out"
    assert main(["train", str(config_path), *auto, "--out", str(out)]) == 0
    record = read_json(out / "record.json")
    assert record.patch_microbatch == "auto"
    assert record.patch_microbatch_used == chosen > 1
    assert record.peak_allocated_bytes == record.predicted_peak_bytes <= budget < whole


def test_auto_that_cannot_fit_ends_before_training_and_says_what_would_fit(
    config_path, tmp_path, capsys
):
    out = tmp_path / "out"
    settings = ("--set", "patch_microbatch=auto", "--set", "budget=23MB")
    assert main(["train", str(config_path), *settings, "--out", str(out)]) == 3
    record = read_json(out / "record.json")
    assert (record.status.value, record.epochs_done) == ("out_of_memory", 0)
    assert "predicted out of memory in inner_iteration: even patch_microbatch=" in record.error
    budget = int(re.search(r"or budget=(\d+)", record.error)[1])
    enough = ("--set", "patch_microbatch=auto", "--set", f"budget={budget}")
    assert main(["train", str(config_path), *enough, "--out", str(tmp_path / "other")]) == 0


def test_estimate_says_whether_it_fits_what_is_largest_and_what_lowers_it(config_path, capsys):
    data = ("--set", "data_dir=/nowhere")  # no data set is read
    arguments = (str(config_path), *data, "--budget", "30MB", "--max", "batch_size")
    assert main(["estimate", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] is (found["needed_bytes"] <= 30 * 10**6) is True
    assert sum(found["attribution"].values()) == found["predicted_peak_bytes"]
    assert found["fixed_bytes"] < found["predicted_peak_bytes"] < found["predicted_reserved_bytes"]
    needs = [knob["needed_bytes"] for knob in found["knobs"]]
    assert needs == sorted(needs) and needs[-1] < found["needed_bytes"]
    largest = found["largest"]["value"]
    for value, fits in ((largest, True), (largest + 1, False)):
        more = (*data, "--set", f"batch_size={value}", "--budget", "30MB")
        assert estimated(config_path, capsys, *more)["fits"] is fits

    assert main(["estimate", *arguments]) == 0
    said = capsys.readouterr().out
    assert f"budget 30MB: fits (needs {found['needed_bytes'] / 1e6:.4g}MB" in said
    assert f"largest batch_size that fits 30MB: {largest}" in said
    assert f"{found['knobs'][0]['setting']}={found['knobs'][0]['value']}" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "device=tpu"], "device='tpu' is not supported"),
        (["--budget", "8XB"], "--budget='8XB' is not a memory size"),
        (["--max", "batch_size"], "--max batch_size: needs a budget"),
        (["--budget", "1GB", "--max", "epochs"], "--max epochs: unknown; use one of"),
        (["--set", "patch_microbatch=0"], "patch_microbatch=0 is not accepted; use auto, none"),
        (["--set", "patch_microbatch=many"], "patch_microbatch='many' is not accepted; use auto"),
        (["--set", "backbone=resnet999"], "backbone='resnet999' is not a network of timm"),
        (["--set", "method=full", "--max", "patch_size", "--budget", "1GB"], "it does not change"),
        (["--set", "drop_rate=1.5"], "drop_rate=1.5 must be at least 0 and below 1"),
    ],
)
def test_bad_input_to_estimate_is_one_line_and_2(config_path, capsys, arguments, message):
    assert main(["estimate", str(config_path), *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1
    assert said.out == ""


def test_estimating_for_a_gpu_needs_none(config_path, capsys):
    found = estimated(config_path, capsys, "--set", "device=cuda:3")
    assert found["device"] == "cuda"
    assert found["attribution"]["workspace"] > 0
    assert found["needed_bytes"] > found["predicted_reserved_bytes"]


def test_a_diverging_trial_exits_1_and_is_recorded(config_path, tmp_path, capsys):
    out = tmp_path / "out"
    settings = ["--set", "learning_rate=1e30", "--set", "norm=group"]
    assert main(["train", str(config_path), *settings, "--out", str(out)]) == 1
    assert read_json(out / "record.json").status.value == "failed"
    assert capsys.readouterr().err.count("\n") == 1


BAD_SETTINGS = [
    ("patch_size=48", "patch_size=48 does not divide image_size=128; use one of"),
    ("patch_size=256", "patch_size=256 is larger than image_size=128"),
    ("sampling_rate=0", "sampling_rate=0.0 must be above 0"),
    ("sampling_rate=1.5", "sampling_rate=1.5 must be"),
    ("backbone=resnet5O", "backbone='resnet5O' is not a network of timm; did you mean resnet50"),
    ("method=magic", "method='magic' is not accepted; use one of"),
    ("budget=8XB", "budget='8XB' is not a memory size"),
    ("data_dir=/no/such", "data_dir=/no/such"),
    ("device=tpu", "device='tpu' is not supported"),
    ("split_file=/no/such.csv", "/no/such.csv"),
    ("nonsense=1", "nonsense=1 is not a setting"),
    ("weights=/no/file", "weights='/no/file' is not a file"),
]


@pytest.mark.parametrize(("setting", "message"), BAD_SETTINGS, ids=[s for s, _ in BAD_SETTINGS])
def test_bad_settings_exit_2_with_one_line_and_write_nothing(
    setting, message, config_path, tmp_path, capsys
):
    out = tmp_path / "out"
    assert main(["train", str(config_path), "--set", setting, "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not out.exists()


def edit_csv(folder: Path, edit) -> None:
    with (folder / "train.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    edit(rows)
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def first_image(folder: Path) -> Path:
    return sorted((folder / "train_images").iterdir())[0]


BAD_DATA = {
    "no csv": (lambda d: (d / "train.csv").unlink(), "train.csv"),
    "no column": (lambda d: edit_csv(d, lambda r: r[0].__setitem__(2, "grade")), "isup_grade"),
    "grade 9": (lambda d: edit_csv(d, lambda r: r[1].__setitem__(2, "9")), "9"),
    "missing image": (lambda d: first_image(d).unlink(), "skip_bad_images"),
    "truncated image": (lambda d: cut_in_half(first_image(d)), "restore it from the original"),
    "no image": (lambda d: first_image(d).write_text("hello"), "skip_bad_images"),
    "empty csv": (lambda d: edit_csv(d, lambda r: r.__delitem__(slice(1, None))), "train.csv"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_exit_2_with_one_line_and_write_nothing(
    name, config_path, data_dir, tmp_path, capsys
):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(data_dir, broken)
    damage, message = BAD_DATA[name]
    damage(broken)
    out = tmp_path / "out"
    arguments = ["train", str(config_path), "--set", f"data_dir={broken}", "--out", str(out)]
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_an_empty_split_is_refused(config_path, data_dir, tmp_path, capsys):
    ids = [path.stem for path in sorted((data_dir / "train_images").iterdir())]
    split = tmp_path / "split.csv"
    split.write_text("image_id,split\n" + "".join(f"{name},train\n" for name in ids))
    out = tmp_path / "out"
    arguments = ["train", str(config_path), "--set", f"split_file={split}", "--out", str(out)]
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "val" in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_images_that_cannot_be_read_are_skipped_and_counted(
    config_path, data_dir, tmp_path, capsys
):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(data_dir, broken)
    images = sorted((broken / "train_images").iterdir())
    cut_in_half(images[0])
    images[1].write_text("hello")
    images[2].unlink()
    out = tmp_path / "out"
    arguments = ["train", str(config_path), "--set", f"data_dir={broken}", "--set", "epochs=1"]
    assert main([*arguments, "--skip-bad-images", "--out", str(out)]) == 0
    record = read_json(out / "record.json")
    assert record.num_skipped_images == 3
    assert record.num_train_images + record.num_val_images == 21
    assert "skipped 3 images" in capsys.readouterr().out


def test_an_image_smaller_than_a_patch_is_refused(config_path, tmp_path, capsys):
    small = tmp_path / "small"
    main(["sample-data", "panda", str(small), "--num-images", "12", "--image-size", "64"])
    settings = ["--set", f"data_dir={small}", "--set", "image_size=256", "--set", "patch_size=128"]
    out = tmp_path / "out"
    assert main(["train", str(config_path), *settings, "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert "patch_size=128" in err
    assert err.count("\n") == 1


def test_outputs_that_cannot_be_written_are_refused(config_path, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thing").write_text("")
    for out in (file, file / "below", full, Path("/proc/nope")):
        assert main(["train", str(config_path), "--out", str(out)]) == 2
        err = capsys.readouterr().err
        assert str(out) in err
        assert err.count("\n") == 1


def test_evaluate_refuses_what_train_did_not_write(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "has no config.yaml" in capsys.readouterr().err


def test_resume_before_the_first_checkpoint_still_knows_the_configuration(
    trained, config_path, tmp_path, capsys
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    changed = ["--set", "learning_rate=0.5", "--out", str(out), "--resume"]
    assert main(["train", str(config_path), *changed]) == 2
    assert "learning_rate=0.5 differs from 0.001" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["config.yaml"]


def test_resume_leaves_the_folder_of_something_else_alone(config_path, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("precious")
    assert main(["train", str(config_path), "--out", str(out), "--resume"]) == 2
    assert "holds no trial" in capsys.readouterr().err
    (out / "config.yaml").write_text("mine: precious")
    assert main(["train", str(config_path), "--out", str(out), "--resume"]) == 2
    assert (out / "config.yaml").read_text() == "mine: precious"


def test_a_killed_trial_resumes_and_leaves_everything_it_promises(trained, config_path, tmp_path):
    """A real process, killed in the middle of its second epoch."""
    import os
    import signal
    import subprocess
    import sys
    import time

    out = tmp_path / "out"
    command = [sys.executable, "-m", "patchtrain.cli", "train", str(config_path), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "memory.png").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "record.json").exists()
    assert main(["train", str(config_path), "--out", str(out), "--resume"]) == 0
    one, other = read_json(trained / "record.json"), read_json(out / "record.json")
    assert one.metrics == other.metrics
    assert {path.name for path in out.iterdir()} == {path.name for path in trained.iterdir()} - {
        "predictions.parquet"
    }


@pytest.mark.parametrize("name", ["record.json", "epochs.parquet"])
def test_a_damaged_result_is_named(trained, config_path, tmp_path, capsys, name):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(trained, out)
    if name != "record.json":
        (out / "record.json").unlink()
    cut_in_half(out / name)
    assert main(["train", str(config_path), "--out", str(out), "--resume"]) == 2
    err = capsys.readouterr().err
    assert f"{name}: is damaged" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("setting", ["backbone=resnet18", "method=downsampled", "fusion=add"])
def test_evaluate_refuses_settings_that_the_weights_fix(trained, capsys, setting):
    assert main(["evaluate", str(trained), "--set", setting]) == 2
    assert "the saved weights fix it" in capsys.readouterr().err


def test_evaluate_refuses_weights_of_another_network_than_the_configuration(
    trained, tmp_path, capsys
):
    copy = tmp_path / "edited"
    shutil.copytree(trained, copy)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(config | {"aggregator": "attention"}))
    status = main(["evaluate", str(copy)])
    error = capsys.readouterr().err
    assert status == 2, error
    assert error.count("\n") == 1
    assert "do not fit the network that config.yaml describes" in error


def test_evaluate_keeps_to_its_budget(trained, capsys):
    assert main(["evaluate", str(trained), "--set", "budget=1MB"]) == 3
    err = capsys.readouterr().err
    assert "out of memory" in err
    assert err.count("\n") == 1


def test_wrong_arguments_are_refused_in_one_line(tmp_path, capsys):
    for arguments in (["nope"], ["sample-data", "nope", str(tmp_path)], ["train"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1
