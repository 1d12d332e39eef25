"""What Tune reports of a trial, made up, and a logger that notes what it is given."""

from ray.tune.logger import LoggerCallback

from patchtrain.config import TrialConfig
from patchtrain.record import EpochRecord, TrialStatus
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.records import unstarted_record

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
