"""What a driver that was told to end does with the trials that run; no Ray, no clock."""

import pytest
import torch

from patchtrain.checkpoint import save_checkpoint
from patchtrain.errors import ConfigError
from sweeps.results.checkpoints import Checkpoints
from sweeps.results.stop import TRAINER, Stop, grace_s


@pytest.fixture
def run_dir(tmp_path):
    for name in ("00000", "00001"):
        (tmp_path / "trials" / name).mkdir(parents=True)
    return tmp_path


def write(checkpoint, epochs_done, batches_done=0):
    """Write a checkpoint of a made-up trial."""
    begun = {"part": {"batches_done": batches_done}} if batches_done else None
    state = {"epochs_done": epochs_done, "begun": begun}
    epoch = {"generator": torch.Generator().get_state()} if begun else None
    save_checkpoint(checkpoint / TRAINER, {"w": torch.zeros(1)}, {}, state, epoch)


DAMAGES = ("state.json", "epoch.pt", "optimizer.pt", "model.safetensors")
"""Files that are cut."""


class Time:
    """A clock that runs while someone sleeps; `events` happen at their seconds."""

    def __init__(self, events=None):
        self.now_s = 0.0
        self.events = dict(events or {})

    def clock(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds
        for at_s in [at_s for at_s in self.events if at_s <= self.now_s]:
            self.events.pop(at_s)()


def save(stop, trial_ids, time):
    return stop.save(trial_ids, clock=time.clock, sleep=time.sleep)


def test_it_waits_until_all_have_saved(run_dir):
    stop = Stop(run_dir)
    paths = [stop.saved_path(name) for name in ("00000", "00001")]
    asked = []

    def first():
        asked.append(stop.is_asked)
        write(paths[0], 1, 4)

    time = Time({1.0: first, 3.0: lambda: write(paths[1], 0, 2)})
    assert save(stop, ["00000", "00001"], time) == 2
    assert time.now_s == pytest.approx(3.0, abs=0.3)
    assert asked == [True]
    assert not stop.is_asked


def test_it_waits_no_longer_than_the_grace(run_dir, monkeypatch):
    stop = Stop(run_dir)
    write(stop.saved_path("00000"), 1)  # at an earlier end
    time = Time({1.0: lambda: write(stop.saved_path("00001"), 0, 2)})
    monkeypatch.setenv("PATCHTRAIN_STOP_GRACE_S", "5")
    assert save(stop, ["00000", "00001"], time) == 1
    assert time.now_s == pytest.approx(5.0, abs=0.3)
    assert not stop.is_asked


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_grace_that_is_no_time_is_refused(text, monkeypatch):
    monkeypatch.setenv("PATCHTRAIN_STOP_GRACE_S", text)
    with pytest.raises(ConfigError, match=r"PATCHTRAIN_STOP_GRACE_S=.*not a number of seconds"):
        grace_s()


@pytest.mark.parametrize(
    ("whole", "saved", "chosen"),
    [
        (None, (0, 3), "stopped"),
        ((2, 0), (2, 5), "stopped"),
        ((3, 0), (2, 5), "whole"),  # it went on since
        ((3, 0), None, "whole"),
        *(((3, 0), name, "whole") for name in DAMAGES),
        *((None, name, None) for name in DAMAGES),
        ("missing", (0, 3), "stopped"),
    ],
)
def test_a_trial_goes_on_from_what_is_furthest(whole, saved, chosen, run_dir, capsys):
    checkpoints = Checkpoints(run_dir, run_dir / "tune", lambda write: write())
    ours = {
        "whole": run_dir / "tune" / "0000" / "00000" / "checkpoint_000001",
        "stopped": Stop(run_dir).saved_path("00000"),
    }
    if whole is not None:
        checkpoints.note("00000", str(ours["whole"]))
    if isinstance(whole, tuple):
        write(ours["whole"], *whole)
    if saved is not None:
        write(ours["stopped"], *((0, 1) if saved in DAMAGES else saved))
    if saved in DAMAGES:
        (ours["stopped"] / TRAINER / saved).write_bytes(b"{")
    found = checkpoints.found()
    assert found == ({} if chosen is None else {"00000": str(ours[chosen])})
    assert "missing" not in capsys.readouterr().err


def test_what_a_trial_saved_goes_with_its_next_checkpoint_and_with_its_end(run_dir):
    checkpoints = Checkpoints(run_dir, run_dir / "tune", lambda write: write())
    saved = Stop(run_dir).saved_path("00000")
    for remove in (
        lambda: checkpoints.note("00000", str(run_dir / "tune/0000/00000/checkpoint_000001")),
        lambda: checkpoints.drop("00000"),
        lambda: checkpoints.drop_leftovers({"00000"}),
    ):
        write(saved, 0, 1)
        remove()
        assert not saved.exists()
