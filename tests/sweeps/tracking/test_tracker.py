"""What a tracker is told, and that none ends a sweep; no Ray started, no tracker needed."""

import math
import pickle
import threading

import pytest
import ray
from ray.tune.callback import CallbackList
from tune_reports import (
    METRICS_OF_AN_EPOCH,
    FakeTrial,
    NotingLogger,
    epoch_row,
    report,
    run_whole,
    start,
)

from patchtrain.record import TrialStatus
from sweeps.tracking.tracker import Tracker


class TestView:
    def test_a_trial_starts_with_its_settings_by_name(self, tracker, logger, trial):
        start(tracker, trial)
        (_, (_, view)) = logger.calls
        expected = {"patch_size": 64, "fusion": "concat", "seed": 7, "budget": 10**6}
        assert expected.items() <= view.config.items()
        assert view.config["group"] == "00000"
        assert str(view) == "00000"
        assert view.trial_id == trial.trial_id

    def test_settings_that_are_none_are_left_out(self, tracker, logger, trial):
        start(tracker, trial)
        assert "data_dir" not in logger.calls[1][1].config

    def test_an_epoch_s_known_metrics_are_logged_and_nothing_else(self, tracker, logger, trial):
        start(tracker, trial)
        report(tracker, trial, TrialStatus.STOPPED_EARLY, epoch_row(1))
        assert logger.calls[-1][2] == METRICS_OF_AN_EPOCH

    def test_numbers_that_are_not_finite_are_left_out(self, tracker, logger, trial):
        start(tracker, trial)
        row = epoch_row(1, train_loss=math.nan, learning_rate=math.inf, metric=None)
        report(tracker, trial, TrialStatus.STOPPED_EARLY, row)
        assert not {"train_loss", "learning_rate", "metric"} & {*logger.calls[-1][2]}

    def test_a_trial_out_of_memory_shows_what_it_held(self, tracker, logger, trial):
        start(tracker, trial)
        report(tracker, trial, TrialStatus.OUT_OF_MEMORY, peak_allocated_bytes=999)
        assert logger.calls[-1][2] == {"peak_allocated_bytes": 999, "training_iteration": 0}

    def test_one_view_stands_for_a_trial_from_start_to_end(self, tracker, logger, trial):
        run_whole(tracker, trial)
        assert logger.names() == ["setup", "start", "result", "end", "experiment_end"]
        assert len({id(call[1]) for call in logger.calls[1:-1]}) == 1

    def test_two_trials_have_two_views(self, tracker, logger, tmp_path):
        start(tracker, FakeTrial(tmp_path, "00000"))
        start(tracker, FakeTrial(tmp_path, "00001"))
        assert [str(call[1]) for call in logger.calls[1:]] == ["00000", "00001"]


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "failed"),
        [
            (TrialStatus.COMPLETED, False),
            (TrialStatus.FAILED, True),
            (TrialStatus.STOPPED_EARLY, False),
        ],
    )
    def test_a_trial_ends_as_it_said(self, tracker, logger, trial, status, failed):
        start(tracker, trial)
        report(tracker, trial, status)
        tracker.on_trial_complete(0, [], trial)
        assert (logger.calls[-1][1].status, logger.calls[-1][2]) == (status.value, failed)

    def test_out_of_memory_is_no_failure_though_its_worker_dies(self, tracker, logger, trial):
        start(tracker, trial)
        report(tracker, trial, TrialStatus.OUT_OF_MEMORY)
        tracker.on_trial_error(0, [], trial)
        assert (logger.calls[-1][1].status, logger.calls[-1][2]) == ("out_of_memory", False)

    def test_a_worker_that_dies_between_epochs_failed(self, tracker, logger, trial):
        start(tracker, trial)
        report(tracker, trial, TrialStatus.STOPPED_EARLY, epoch_row(1))
        tracker.on_trial_error(0, [], trial)
        assert (logger.calls[-1][1].status, logger.calls[-1][2]) == ("failed", True)

    def test_a_worker_that_never_came_up_is_a_run_that_failed(self, tracker, logger, trial):
        trial.error = RuntimeError("no module named patchtrain")
        tracker.on_trial_error(0, [], trial)
        assert logger.names() == ["setup", "start", "end"]
        assert logger.calls[-1][1].status == "failed"


class TestFailure:
    @pytest.mark.parametrize("hook", ["setup", "start", "result", "end", "experiment_end"])
    def test_a_tracker_that_fails_is_switched_off_with_one_line(self, trial, capsys, hook):
        logger = NotingLogger(fails_in=hook)
        tracker = Tracker("--tracker noting", lambda: logger)
        CallbackList([tracker]).setup(stop=None, num_samples=1)
        run_whole(tracker, trial)
        run_whole(tracker, trial)
        assert capsys.readouterr().err == (
            "--tracker noting failed (ConnectionError: the server is gone): "
            "the sweep continues without it\n"
        )
        assert logger.names()[-1] == hook

    def test_a_tracker_that_cannot_be_made_is_switched_off(self, trial, capsys):
        def make():
            raise ImportError("cannot import name 'x'")

        tracker = Tracker("--tracker noting", make)
        tracker.setup()
        run_whole(tracker, trial)
        assert "--tracker noting failed (ImportError: cannot import" in capsys.readouterr().err

    def test_a_page_of_an_answer_is_cut(self, trial, capsys):
        def make():
            raise ValueError("page " * 1000)

        Tracker("--tracker noting", make).setup()
        assert len(capsys.readouterr().err) < 300

    def test_the_error_of_another_process_is_told_without_its_traceback(self, capsys):
        def make():
            raise ray.exceptions.RayTaskError("run", "Traceback ...", ValueError("no such host"))

        Tracker("--tracker noting", make).setup()
        assert "failed (ValueError: no such host)" in capsys.readouterr().err

    def test_ctrl_c_is_no_failure_of_a_tracker(self, tracker, logger, trial):
        def interrupt(view):
            raise KeyboardInterrupt

        logger.log_trial_start = interrupt
        with pytest.raises(KeyboardInterrupt):
            start(tracker, trial)


def test_the_copy_that_tune_writes_holds_no_connection(tracker, logger, trial):
    logger.connection = threading.Lock()  # cannot be pickled
    start(tracker, trial)
    assert vars(pickle.loads(pickle.dumps(tracker))) == {}
    assert CallbackList([tracker]).get_state() is None
