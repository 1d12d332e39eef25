"""More seeds for the Pareto front, and the summary of a configuration over its seeds."""

import math
from dataclasses import replace

import pytest

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.results.records import unstarted_record
from sweeps.search.patch_space import patch_space
from sweeps.search.replicates import Replicates, describe_groups, front

SPACE = patch_space(
    TrialConfig(image_size=512, seed=5), varied={"learning_rate": None, "patch_microbatch": (8, 16)}
)
PARAMS = {
    "patch_size": 64,
    "sampling_rate": 0.1,
    "inner_iterations": 3,
    "fusion": "concat",
    "learning_rate": 2e-3,
    "patch_microbatch": 8,
}


def record(trial_id, metric=0.5, peak=100, **changes):
    made = unstarted_record(SPACE.config(PARAMS, 1000), trial_id, "test", RuntimeError())
    values = {
        "status": TrialStatus.COMPLETED,
        "group": trial_id,
        "metric": metric,
        "peak_allocated_bytes": peak,
    }
    # as a run folder gives them back
    return TrialRecord.from_row(replace(made, **{**values, **changes}).to_row())


def replicates(records, num_seeds=3, **settings):
    settings = {"checkpoints": {}, **settings}
    return Replicates(SPACE, records, num_seeds=num_seeds, sweep="test", **settings)


def suggested(search):
    configs = []
    while (config := search.suggest("tune's id")) != search.FINISHED:
        configs.append(config)
    return configs


FRONT = [record("00000", 0.5, 100), record("00002", 0.6, 200)]
BEATEN = [
    record("00001", 0.4, 150),
    record("00003", 0.6, 300),
    record("00004", 0.9, 50, status=TrialStatus.STOPPED_EARLY),
    record("00005", 0.9, 50, status=TrialStatus.OUT_OF_MEMORY),
    record("00006", 0.9, 50, status=TrialStatus.FAILED),
    record("00007", 0.9, 50, status=TrialStatus.PREDICTED_INFEASIBLE),
    record("00008", None, 50),
    record("00009", math.nan, 50),
    record("00010", math.inf, 50),
    record("00011", 0.9, None),
    record("00000-s6", 0.9, 50, group="00000"),
]


def test_the_front_is_of_trials_that_completed_and_nothing_beats():
    assert front([*BEATEN, *reversed(FRONT)]) == FRONT
    assert front(BEATEN[2:]) == []


def test_equals_are_all_on_the_front():
    equals = [record("00001"), record("00000")]
    assert [r.trial_id for r in front(equals)] == ["00000", "00001"]


def test_each_configuration_of_the_front_is_run_with_the_seeds_after_the_sweeps():
    search = replicates(FRONT + BEATEN[:-1])
    assert (search.num_configurations, search.num_to_run) == (2, 4)
    configs = suggested(search)
    assert [config["trial_id"] for config in configs] == [
        "00000-s6",
        "00000-s7",
        "00002-s6",
        "00002-s7",
    ]
    assert [config["group"] for config in configs] == ["00000", "00000", "00002", "00002"]
    assert [config["config"].seed for config in configs] == [6, 7, 6, 7]
    assert {config["sweep"] for config in configs} == {"test"}
    for config in configs:
        assert replace(config["config"], seed=5) == SPACE.config(PARAMS, 1000)


def test_a_replicate_that_has_its_row_is_not_run_again():
    ended = [
        record("00000-s6", group="00000", status=TrialStatus.FAILED),
        record("00002-s7", group="00002"),
    ]
    search = replicates(FRONT + ended, checkpoints={"00000-s7": "/a/checkpoint"})
    configs = suggested(search)
    assert [config["trial_id"] for config in configs] == ["00000-s7", "00002-s6"]
    assert [config["checkpoint"] for config in configs] == ["/a/checkpoint", None]
    more = replicates(FRONT + ended, num_seeds=4)
    assert len(suggested(more)) == 4


def test_one_seed_or_no_front_is_nothing_to_run():
    for search in (replicates(FRONT, num_seeds=1), replicates(BEATEN[2:])):
        assert search.num_to_run == 0
        assert search.is_done
        assert suggested(search) == []


def test_replicates_are_done_when_the_last_one_has_ended():
    search = replicates(FRONT[:1])
    configs = suggested(search)
    assert not search.is_done
    for config in configs:
        assert not search.is_done
        search.tell(record(config["trial_id"], group="00000"))
    assert search.is_done


def test_a_line_tells_of_a_configuration_over_its_seeds():
    group = [
        record("00000-s6", 0.6, 120, group="00000"),
        record("00000-s7", 0.7, 110, group="00000"),
    ]
    (line,) = describe_groups([*FRONT, *group])
    assert line == "trial 00000: accuracy 0.600 (sd 0.100, 0.500 to 0.700, 3 seeds), peak 120B"


@pytest.mark.parametrize(
    "changes", [{"status": TrialStatus.FAILED}, {"metric": math.nan}, {"metric": None}]
)
def test_a_replicate_without_a_metric_is_not_counted(changes):
    broken = record("00000-s6", group="00000", **changes)
    assert describe_groups([FRONT[0], broken]) == []
    (line,) = describe_groups([FRONT[0], broken, record("00000-s7", group="00000")])
    assert "2 seeds" in line
