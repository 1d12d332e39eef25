"""Signals are never lost, and end a run between two batches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref

import pytest
import yaml

from patchtrain import interrupt
from patchtrain.interrupt import Stopped, deferred, stoppable


@pytest.fixture(autouse=True)
def usual_handlers():
    """Libraries that other tests used, such as Ray, may have taken the signals."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", _STATUS)
def test_a_signal_ends_the_block(number):
    with pytest.raises(Stopped) as stopped, stoppable():
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert stopped.value.number == number
    assert stopped.value.exit_status == _STATUS[number]


def test_a_signal_within_a_callback_is_not_lost():
    class Thing:
        pass

    def callback(_):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))  # Python runs handlers between two instructions

    done = []
    with pytest.raises(Stopped), stoppable(), deferred():
        for number in range(3):
            thing = Thing()
            watched = weakref.ref(thing, callback)
            del thing
            assert watched() is None
            done.append(number)
            interrupt.check()
    assert done == [0]


def test_a_deferred_signal_is_raised_at_the_end_even_after_an_error():
    with pytest.raises(Stopped), stoppable(), deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("DataLoader worker exited unexpectedly")


def test_handlers_of_others_are_left_alone():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with stoppable(), deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


_TWICE = """
import os, signal, time
from patchtrain.interrupt import deferred, stoppable
with stoppable(), deferred():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""


def test_a_second_signal_ends_at_once():
    done = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert b"once more ends at once" in done.stderr


@pytest.mark.parametrize("number", _STATUS)
def test_training_ends_with_a_word_and_can_be_resumed(tmp_path, number):
    settings = {
        "image_size": 128, "patch_size": 32, "inner_iterations": 1, "backbone": "test_resnet",
        "aggregator": "small_cnn", "epochs": 1000, "device": "cpu", "sample_num_images": 12,
    }  # fmt: skip
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "patchtrain.cli", "train", str(tmp_path / "trial.yaml")]
    with subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(number)
        said, err = process.communicate()
    assert process.returncode == _STATUS[number]
    assert "continue with --resume" in said
    assert err.splitlines()[-1].startswith("patchtrain: ")
    assert (out / "checkpoint" / "state.json").is_file()
    assert not (out / "record.json").exists()
