"""Ray's loggers as a sweep uses them: event files, and fakes of MLflow and wandb."""

import os
import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import ray
from ray.air.integrations import wandb as ray_wandb
from ray.tune.callback import CallbackList
from tensorboardX.proto import event_pb2, plugin_hparams_pb2
from tune_reports import (
    METRICS_OF_AN_EPOCH,
    epoch_row,
    report,
    result_of,
    run_whole,
    start,
)

from patchtrain.record import TrialStatus
from sweeps.tracking.trackers import tracker_callbacks


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
