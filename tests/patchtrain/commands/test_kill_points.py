"""One trial that stops at any of its writes, or finds the disk failing there, and is resumed.

Whatever the point, the trial ends as one does that nothing disturbed, and every file can be read.
"""

import json
import sys
from contextlib import suppress

import pytest
from failing_files import DIES, WAYS, Died, content_of, failing_files, one_of_each_kind
from PIL import Image

from patchtrain.commands.train import train_into
from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.owned import content_of as names_in
from patchtrain.record import TrialStatus, read_json, read_rows

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="pathlib keeps its own copies of os functions there"
)

CONFIG = TrialConfig(
    method="patchgd",
    image_size=64,
    patch_size=32,
    sampling_rate=0.5,
    inner_iterations=1,
    backbone="test_resnet",
    aggregator="small_cnn",
    sample_num_images=12,
    batch_size=4,
    epochs=2,
)


def train(out):
    return train_into(CONFIG, out, resume=bool(names_in(out)), quiet=True)


def losses(out):
    return [row["train_loss"] for row in read_rows(out / "epochs.parquet")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the trial does to its folder that nothing disturbs; the folder, and its record."""
    out = tmp_path_factory.mktemp("whole") / "trial"
    train(tmp_path_factory.mktemp("first") / "trial")  # makes the samples
    with failing_files(out) as files:
        record = train(out)
    assert record.status is TrialStatus.COMPLETED
    return files.changes, out, record


def stop_and_go_on(out, way, number, whole):
    _, whole_out, whole_record = whole
    with (
        failing_files(out, stop_at=number, way=way) as files,
        suppress(Died, OSError, ConfigError),
    ):
        train(out)
    if way == DIES:
        assert content_of(out) == files.at_death, "a write was not seen"
    record = train(out)
    assert (record.status, record.metric) == (TrialStatus.COMPLETED, whole_record.metric)
    assert losses(out) == losses(whole_out)
    assert names_in(out) == {path.name for path in out.iterdir()}, "something is left"
    assert names_in(out) | {"memory.png"} == names_in(whole_out)
    assert read_json(out / "record.json").metric == record.metric
    assert json.loads((out / "checkpoint" / "state.json").read_text())["epochs_done"] == 2
    if (out / "memory.png").exists():
        Image.open(out / "memory.png").load()


@pytest.mark.parametrize("way", WAYS)
def test_a_trial_goes_on_from_a_point_of_each_kind(whole, tmp_path, way):
    for number in one_of_each_kind(whole[0])[WAYS.index(way) :: len(WAYS)]:
        stop_and_go_on(tmp_path / str(number), way, number, whole)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", WAYS)
def test_a_trial_goes_on_from_any_point(whole, tmp_path, way, capsys):
    for number in range(len(whole[0])):
        stop_and_go_on(tmp_path / str(number), way, number, whole)
    with capsys.disabled():
        print(f"\ntrial, {way}: {len(whole[0])} points tried")
