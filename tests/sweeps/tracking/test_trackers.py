"""What trackers are told, and that none of them ends a sweep; no Ray started, no tracker needed."""

import importlib.util
import math
import os
import pickle
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import ray
from ray.air.integrations import wandb as ray_wandb
from ray.tune.callback import CallbackList
from ray.tune.logger import LoggerCallback
from tensorboardX.proto import event_pb2, plugin_hparams_pb2

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.record import EpochRecord, TrialStatus
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.records import unstarted_record
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.trackers import TRACKERS, check_tracker, tracker_callbacks

CONFIG = TrialConfig(budget=10**6, epochs=2, patch_size=64, fusion="concat", seed=7)

METRICS_OF_AN_EPOCH = {
    "metric": 0.5,
    "metric_accuracy": 0.5,
    "train_loss": 1.25,
    "learning_rate": 1e-3,
    "images_per_s": 8.0,
    "peak_allocated_bytes": 1000,
    "peak_reserved_bytes": 2000,
    "train_time_s": 4.0,
    "training_iteration": 1,
}


class FakeTrial:
    """The parts of Tune's trial that are read."""

    def __init__(self, path, trial_id="00000", config=CONFIG):
        self.config = {"trial_id": trial_id, "sweep": "test", "group": "00000", "config": config}
        self.trial_id = f"abc_{trial_id}"
        self.path = str(path / trial_id)
        self.experiment_dir_name = "0000"
        self.last_result = {}
        self.error = None

    def get_pickled_error(self):
        return self.error


class NotingLogger(LoggerCallback):
    """A logger that notes what it is given; it fails in the hook named `fails_in`."""

    def __init__(self, fails_in=None):
        self.fails_in = fails_in
        self.calls = []

    def setup(self, *args, **info):
        self._note("setup")

    def log_trial_start(self, trial):
        self._note("start", trial)

    def log_trial_result(self, iteration, trial, result):
        self._note("result", trial, result)

    def log_trial_end(self, trial, failed=False):
        self._note("end", trial, failed)

    def on_experiment_end(self, trials, **info):
        self._note("experiment_end", trials)

    def _note(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name == self.fails_in:
            raise ConnectionError("the server\nis gone")

    def names(self):
        return [call[0] for call in self.calls]


@pytest.fixture
def trial(tmp_path):
    return FakeTrial(tmp_path)


@pytest.fixture
def logger():
    return NotingLogger()


@pytest.fixture
def tracker(logger):
    tracker = Tracker("--tracker noting", lambda: logger)
    tracker.setup()
    return tracker


def start(tracker, trial):
    tracker.on_trial_start(0, [], trial)


def epoch_row(epoch, **values):
    record = EpochRecord(
        trial_id="00000",
        epoch=epoch,
        metric_name="accuracy",
        **{
            "train_loss": 1.25,
            "learning_rate": 1e-3,
            "metric": 0.5,
            "metrics": {"accuracy": 0.5, "kappa": None},
            "peak_allocated_bytes": 1000,
            "peak_reserved_bytes": 2000,
            "train_time_s": 4.0,
            "validation_time_s": 1.0,
            "images_per_s": 8.0,
        }
        | values,
    )
    return record.to_row()


def result_of(trial, status, epoch=None, **columns):
    row = unstarted_record(CONFIG, trial.config["trial_id"], "test", RuntimeError()).to_row()
    row |= {"status": status.value, "epochs_done": epoch["epoch"] if epoch else 0} | columns
    return {RECORD: row, EPOCH: epoch, "training_iteration": row["epochs_done"], "done": False}


def report(tracker, trial, *arguments, **columns):
    trial.last_result = result_of(trial, *arguments, **columns)
    tracker.on_trial_result(0, [], trial, trial.last_result)


def run_whole(tracker, trial):
    """Tell the tracker of a trial of one epoch."""
    start(tracker, trial)
    report(tracker, trial, TrialStatus.COMPLETED, epoch_row(1))
    tracker.on_trial_complete(0, [], trial)
    tracker.on_experiment_end([trial])


class TestCheck:
    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch):
        specs = {name: SimpleNamespace(origin=f"/{name}/__init__.py") for name in TRACKERS}
        monkeypatch.setattr(importlib.util, "find_spec", specs.get)
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(api=SimpleNamespace(api_key="")))
        return specs

    def test_no_tracker_needs_nothing(self, installed):
        installed.clear()
        check_tracker(None)

    def test_an_unknown_tracker_is_refused_with_those_there_are(self):
        with pytest.raises(ConfigError, match=r"--tracker 'neptune' .* one of mlflow, wandb"):
            check_tracker("neptune")

    @pytest.mark.parametrize("name", TRACKERS)
    def test_a_missing_package_is_named_with_how_to_install_it(self, installed, name):
        del installed[name]
        with pytest.raises(ConfigError, match=rf"--tracker {name} .*pip install {name}") as caught:
            check_tracker(name)
        assert "\n" not in str(caught.value)

    def test_a_folder_of_the_package_s_name_is_no_package(self, installed):
        installed["wandb"] = SimpleNamespace(origin=None)
        with pytest.raises(ConfigError, match="not installed"):
            check_tracker("wandb")

    def test_wandb_without_a_key_is_refused_with_what_to_set(self):
        with pytest.raises(ConfigError, match=r"WANDB_API_KEY.*WANDB_MODE=offline"):
            check_tracker("wandb")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("WANDB_API_KEY", "0" * 40),
            ("WANDB_MODE", "offline"),
            ("WANDB_MODE", "disabled"),
            ("WANDB_SETUP_API_KEY_HOOK", "module.function"),
        ],
    )
    def test_wandb_with_a_key_or_without_need_of_one_is_accepted(self, monkeypatch, name, value):
        monkeypatch.setenv(name, value)
        check_tracker("wandb")

    def test_wandb_after_its_login_is_accepted(self, monkeypatch):
        logged_in = SimpleNamespace(api=SimpleNamespace(api_key="0" * 40))
        monkeypatch.setitem(sys.modules, "wandb", logged_in)
        check_tracker("wandb")

    def test_a_wandb_that_cannot_be_asked_counts_as_without_a_key(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
        with pytest.raises(ConfigError, match="no API key"):
            check_tracker("wandb")

    def test_mlflow_needs_no_settings(self):
        check_tracker("mlflow")


def test_checking_imports_neither_ray_nor_trackers():
    code = (
        "import sys, sweeps.tracking.trackers\n"
        "try: sweeps.tracking.trackers.check_tracker('neptune')\n"
        "except Exception: pass\n"
        "print({'ray', 'mlflow', 'wandb', 'tensorboardX'} & {*sys.modules})"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


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
            "the sweep goes on without it\n"
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


class TestTensorBoard:
    @pytest.fixture
    def tensorboard(self, tmp_path):
        (tracker,) = tracker_callbacks(None, sweep="test", out=tmp_path)
        tracker.setup()
        return tracker

    def test_epochs_are_written_into_the_trial_s_folder(self, tensorboard, trial):
        start(tensorboard, trial)
        report(tensorboard, trial, TrialStatus.STOPPED_EARLY, epoch_row(1))
        report(tensorboard, trial, TrialStatus.COMPLETED, epoch_row(2, train_loss=0.75))
        tensorboard.on_trial_complete(0, [], trial)
        scalars, _ = read_events(trial)
        assert scalars["ray/tune/train_loss"] == {1: 1.25, 2: 0.75}
        assert scalars["ray/tune/metric_accuracy"] == {1: 0.5, 2: 0.5}
        names = {name.removeprefix("ray/tune/") for name in scalars}
        assert names == {*METRICS_OF_AN_EPOCH} - {"training_iteration"}

    def test_settings_and_status_are_hyperparameters(self, tensorboard, trial):
        run_whole(tensorboard, trial)
        _, parameters = read_events(trial)
        expected = {"patch_size": 64, "fusion": "concat", "status": "completed"}
        assert expected.items() <= parameters.items()

    def test_a_trial_without_any_metric_is_listed_too(self, tensorboard, trial):
        start(tensorboard, trial)
        report(tensorboard, trial, TrialStatus.FAILED)
        tensorboard.on_trial_complete(0, [], trial)
        _, parameters = read_events(trial)
        assert parameters["status"] == "failed"

    def test_a_trial_that_starts_again_goes_on(self, tensorboard, trial):
        start(tensorboard, trial)
        report(tensorboard, trial, TrialStatus.STOPPED_EARLY, epoch_row(1))
        run_whole(tensorboard, trial)
        _, parameters = read_events(trial)
        assert parameters["status"] == "completed"

    @pytest.mark.timeout(60)
    def test_a_writer_that_has_stopped_does_not_hold_up_the_sweep(self, tensorboard, trial):
        start(tensorboard, trial)
        (writer,) = tensorboard._logger._trial_writer.values()
        queue = writer.file_writer.event_writer._event_queue
        writer.file_writer.event_writer._worker.stop()  # as after an error
        for epoch in range(1, 4):
            report(tensorboard, trial, TrialStatus.STOPPED_EARLY, epoch_row(epoch))
        queue.cancel_join_thread()  # nobody will read it

    def test_a_folder_that_cannot_be_written_switches_it_off(self, tensorboard, trial, capsys):
        Path(trial.path).write_text("no folder")
        start(tensorboard, trial)
        assert capsys.readouterr().err.startswith("TensorBoard failed (FileExistsError")


def read_events(trial):
    """Return scalars {name: {step: value}} and hyperparameters {name: value} of event files."""
    scalars, parameters = {}, {}
    for path in sorted(Path(trial.path).glob("events.out.tfevents.*")):
        for event in events_in(path.read_bytes()):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    data = plugin_hparams_pb2.HParamsPluginData()
                    data.ParseFromString(value.metadata.plugin_data.content)
                    for name, held in data.session_start_info.hparams.items():
                        parameters[name] = getattr(held, held.WhichOneof("kind"))
                else:
                    scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars, parameters


def events_in(content):
    """Yield the events of a file: length, checksum, event, checksum, and so on."""
    position = 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        event = event_pb2.Event()
        event.ParseFromString(content[position + 12 : position + 12 + length])
        position += 16 + length
        yield event


class FakeMlflow(ModuleType):
    """What Ray's logger uses of mlflow: module and client in one; notes what is logged."""

    __version__ = "3.9.0"

    def __init__(self):
        super().__init__("mlflow")
        self.experiments = []
        self.runs = {}

    def MlflowClient(self, **uris):
        return self

    def set_tracking_uri(self, uri):
        self.uri = uri

    def get_tracking_uri(self):
        return self.uri

    def set_registry_uri(self, uri):
        pass

    def get_registry_uri(self):
        return None

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name, artifact_location=None):
        self.experiments.append(name)
        return "1"

    def create_run(self, run_name, experiment_id, tags):
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = {"name": run_name, "tags": tags, "params": {}, "metrics": {}}
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def get_run(self, run_id):
        return self.runs[run_id]

    def active_run(self):
        return None

    def log_param(self, run_id, key, value):
        self.runs[run_id]["params"][key] = value

    def log_metric(self, run_id, key, value, step):
        self.runs[run_id]["metrics"][key, step] = value

    def set_tag(self, run_id, key, value):
        self.runs[run_id]["tags"][key] = value

    def set_terminated(self, run_id, status):
        self.runs[run_id]["status"] = status


class TestMlflow:
    @pytest.fixture
    def fake(self, monkeypatch):
        fake = FakeMlflow()
        submodules = {
            "mlflow.exceptions": {"MlflowException": RuntimeError},
            "mlflow.tracking": {"MlflowClient": fake.MlflowClient},
            "mlflow.utils": {},
            "mlflow.utils.mlflow_tags": {"MLFLOW_RUN_NAME": "mlflow.runName"},
        }
        monkeypatch.setitem(sys.modules, "mlflow", fake)
        for name, attributes in submodules.items():
            module = ModuleType(name)
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "sweeps.tracking.loggers.mlflow", raising=False)
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            monkeypatch.delenv(name)
        yield fake
        sys.modules.pop("sweeps.tracking.loggers.mlflow", None)  # it holds the fake
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            del os.environ[name]

    @pytest.fixture
    def whole(self, fake, trial, tmp_path):
        """A tracker that was told of one whole trial."""
        _, tracker = tracker_callbacks("mlflow", sweep="panda", out=tmp_path)
        tracker.setup()
        run_whole(tracker, trial)
        return tracker

    def test_a_trial_is_a_run_with_settings_metrics_and_status(self, whole, fake, tmp_path):
        (run,) = fake.runs.values()
        assert run["name"] == "00000"
        assert {"patch_size": 64, "fusion": "concat"}.items() <= run["params"].items()
        assert run["metrics"] == {(name, 1): value for name, value in METRICS_OF_AN_EPOCH.items()}
        assert run["tags"]["status"] == "completed"
        assert run["tags"]["run_dir"] == str(tmp_path)
        assert run["status"] == "FINISHED"

    def test_without_a_server_runs_are_kept_in_the_sweep_s_folder(self, whole, fake, tmp_path):
        assert fake.uri == f"sqlite:///{tmp_path}/mlflow.db"
        assert fake.experiments == ["panda"]

    def test_the_server_and_experiment_of_the_environment_are_used(
        self, fake, trial, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
        _, tracker = tracker_callbacks("mlflow", sweep="panda", out=tmp_path)
        tracker.setup()
        assert (fake.uri, fake.experiments) == ("http://tracking:5000", ["mine"])

    def test_a_server_that_is_gone_leaves_tensorboard_on(self, fake, trial, tmp_path, capsys):
        callbacks = CallbackList(tracker_callbacks("mlflow", sweep="panda", out=tmp_path))
        callbacks.setup(stop=None)
        callbacks.on_trial_start(iteration=0, trials=[], trial=trial)
        fake.runs.clear()
        trial.last_result = result_of(trial, TrialStatus.COMPLETED, epoch_row(1))
        callbacks.on_trial_result(iteration=0, trials=[], trial=trial, result=trial.last_result)
        callbacks.on_trial_complete(iteration=0, trials=[], trial=trial)
        assert capsys.readouterr().err.startswith("--tracker mlflow failed (KeyError")
        assert read_events(trial)[1]["status"] == "completed"


class TestWandb:
    @pytest.fixture
    def sent(self, monkeypatch):
        """What Ray's logger starts actors with and sends to them, in place of actors."""
        sent = SimpleNamespace(init={}, items=[])

        def start_actor(self, trial, exclude, **init):
            sent.init = init
            self._trial_logging_actors[trial] = self._trial_queues[trial] = SimpleNamespace(
                put=sent.items.append
            )

        monkeypatch.setattr(ray_wandb, "wandb", ModuleType("wandb"))
        monkeypatch.setattr(ray_wandb, "_clean_log", lambda values, **_: dict(values))
        logger_class = ray_wandb.WandbLoggerCallback
        monkeypatch.setattr(logger_class, "_start_logging_actor", start_actor)
        monkeypatch.setattr(logger_class, "_cleanup_logging_actors", lambda self, **_: None)
        monkeypatch.setattr(ray, "wait", lambda futures, **_: (futures, []))
        monkeypatch.setattr(ray, "get", lambda futures: futures)
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("WANDB_MODE", "offline")
        return sent

    def test_a_trial_is_a_run_with_settings_metrics_and_status(self, sent, trial, tmp_path, capsys):
        _, tracker = tracker_callbacks("wandb", sweep="panda", out=tmp_path)
        tracker.setup()
        run_whole(tracker, trial)
        assert capsys.readouterr().err == ""
        assert (sent.init["name"], sent.init["id"]) == ("00000", "abc_00000")
        assert (sent.init["project"], sent.init["group"]) == ("panda", tmp_path.name)
        assert {"patch_size": 64, "fusion": "concat"}.items() <= sent.init["config"].items()
        assert [content for _, content in sent.items] == [
            METRICS_OF_AN_EPOCH,
            {"status": "completed"},
            None,
        ]

    def test_the_environment_goes_along_and_runs_stay_with_the_sweep(self, sent, trial, tmp_path):
        _, tracker = tracker_callbacks("wandb", sweep="panda", out=tmp_path)
        tracker.setup()
        start(tracker, trial)
        environment = {"WANDB_DIR": str(tmp_path), "WANDB_MODE": "offline"}
        assert sent.init["environment"] == environment

    def test_an_error_of_a_run_s_process_is_the_tracker_s(
        self, sent, trial, tmp_path, monkeypatch, capsys
    ):
        def get(futures):
            raise ray.exceptions.RayTaskError("run", "Traceback ...", ValueError("no such host"))

        _, tracker = tracker_callbacks("wandb", sweep="panda", out=tmp_path)
        tracker.setup()
        monkeypatch.setattr(ray, "get", get)
        run_whole(tracker, trial)
        assert "--tracker wandb failed (ValueError: no such host)" in capsys.readouterr().err

    def test_the_status_goes_into_the_summary_of_the_run(self, monkeypatch, tmp_path):
        from sweeps.tracking.loggers.wandb import WandbActor

        items = [
            (ray_wandb._QueueItem.RESULT, {"metric": 0.5, "training_iteration": 1}),
            (ray_wandb._QueueItem.RESULT, {"status": "completed"}),
            (ray_wandb._QueueItem.END, None),
        ]
        fake, logged = fake_wandb(), []
        fake.log = lambda row, step: logged.append((row, step))
        monkeypatch.setitem(sys.modules, "wandb", fake)
        monkeypatch.setattr(ray_wandb, "WBValue", float)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WANDB_START_METHOD", "")
        monkeypatch.setenv("WANDB_TEST", "before")
        queue = SimpleNamespace(get=lambda: items.pop(0))
        actor = WandbActor(str(tmp_path), queue, [], [], environment={"WANDB_TEST": "after"})
        actor.run()
        assert fake.run.summary == {"status": "completed"}
        assert logged == [({"metric": 0.5, "training_iteration": 1}, 1), ({}, None)]
        assert os.environ["WANDB_TEST"] == "after"


def fake_wandb():
    """Return what Ray's actor uses of wandb."""
    fake = ModuleType("wandb")
    fake.run = SimpleNamespace(config=SimpleNamespace(), summary={})
    fake.config = SimpleNamespace(update=lambda values, allow_val_change: None)
    fake.init = lambda **_: fake.run
    fake.finish = lambda: None
    return fake
