"""What Tune's own trial keeps of a result, and what is left of it once the trial ended."""

import pytest
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from patchtrain.config import TrialConfig
from sweeps.results.forget import Forget
from sweeps.results.keys import EPOCH, RECORD, OpaqueRow


def trial_of(trial_id):
    config = {"trial_id": trial_id, "config": TrialConfig()}
    resources = PlacementGroupFactory([{"CPU": 1.0}])
    trial = Trial("trial", stub=True, config=config, placement_group_factory=resources)
    row = OpaqueRow({f"metric_{number}": 0.5 for number in range(100)})
    trial.update_last_result({RECORD: row, EPOCH: row, "training_iteration": 1})
    return trial


def test_tune_keeps_no_history_of_what_is_in_a_row():
    trial = trial_of("00000")
    assert set(trial.metric_analysis) == {"training_iteration"}
    assert trial.last_result[RECORD]["metric_7"] == 0.5


@pytest.mark.parametrize("end", ["on_trial_complete", "on_trial_error"])
def test_a_trial_that_ended_holds_next_to_nothing(end):
    forget, trials = Forget(), [trial_of("00000"), trial_of("00001")]
    for trial in trials:
        getattr(forget, end)(0, trials, trial)
    for trial in trials:
        assert trial.config["trial_id"] in ("00000", "00001")
        assert not [value for value in trial.config.values() if isinstance(value, TrialConfig)]
        assert RECORD not in trial.last_result
        assert not trial.metric_analysis
    first, second = (trial.placement_group_factory for trial in trials)
    assert first is second
