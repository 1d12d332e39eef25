"""What is taken over from the run folders of earlier sweeps, and which are refused."""

import json
from dataclasses import replace

import pytest
from made_up_sweep import (
    LARGE,
    SMALL,
    SPACE,
    Refusals,
    make_search,
    predict,
    run_to_the_end,
    state_of,
    tried_of,
)
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.record import TrialStatus
from sweeps.plan import shared_settings
from sweeps.results.store import RunFolder
from sweeps.search.patch_space import patch_space
from sweeps.search.warm_start import known_trials


def run_folder(path, records, space=SPACE):
    folder = RunFolder(path)
    folder.open({"sweep": "test", "space": space.describe(), "settings": shared_settings(space)})
    folder.add_records(records)
    folder.close()
    return path


def trials(num_trials=12, space=SPACE, **settings):
    refusals = Refusals(space)
    search = make_search(
        num_trials=num_trials, space=space, predict=predict, refuse=refusals, **settings
    )
    return run_to_the_end(search, space) + refusals.records


def known(*run_dirs, space=SPACE):
    return known_trials(run_dirs, space, shared_settings(space))


def test_trials_are_known_under_names_that_no_trial_of_this_sweep_has(tmp_path):
    records = trials()
    (found,) = known(run_folder(tmp_path / "before", records))
    assert found.run_dir == tmp_path / "before"
    assert found.num_outside == 0
    assert tried_of(found.records) == tried_of(sorted(records, key=lambda r: r.trial_id))
    assert not any(record.trial_id.isdecimal() for record in found.records)
    assert not any(record.is_replicate for record in found.records)


def test_folders_of_one_name_are_told_apart(tmp_path):
    folders = [
        run_folder(tmp_path / place / "run", trials(4, seed=seed))
        for seed, place in enumerate(("here", "there"))
    ]
    ids = [record.trial_id for found in known(*folders) for record in found.records]
    assert len(set(ids)) == len(ids) >= 8


def test_failures_and_replicates_teach_nothing(tmp_path):
    records = trials(4)[:4]
    changed = [
        replace(records[0], status=TrialStatus.FAILED),
        replace(records[1], status=TrialStatus.STOPPED_EARLY),
        replace(records[2], status=TrialStatus.OUT_OF_MEMORY),
        replace(records[3], trial_id="00000-s1", group="00000"),
    ]
    (found,) = known(run_folder(tmp_path / "before", changed))
    assert [record.status for record in found.records] == [
        TrialStatus.STOPPED_EARLY,
        TrialStatus.OUT_OF_MEMORY,
    ]
    assert found.num_outside == 0


def test_what_is_known_is_learned_from_and_never_run_again(tmp_path):
    (found,) = known(run_folder(tmp_path / "before", trials(20, budgets=(LARGE,), seed=1)))
    storage, refusals = InMemoryStorage(), Refusals()
    search = make_search(
        storage, num_trials=20, known=found.records, predict=predict, refuse=refusals
    )
    records = run_to_the_end(search) + refusals.records
    assert [r.trial_id for r in sorted(records, key=lambda r: r.trial_id)] == [
        f"{number:05d}" for number in range(len(records))
    ]
    assert not set(tried_of(records)) & set(tried_of(found.records))
    for record in found.records:
        small, large = (state_of(storage, budget, record.trial_id) for budget in (SMALL, LARGE))
        if record.status is TrialStatus.COMPLETED:
            fits = record.peak_allocated_bytes <= SMALL
            assert large.state is TrialState.COMPLETE
            assert small.state is (TrialState.COMPLETE if fits else TrialState.PRUNED)
        else:
            assert small.state is large.state is TrialState.PRUNED


def test_what_is_known_spares_the_random_start():
    before = [replace(r, trial_id=f"before/{r.trial_id}", group=None) for r in trials(40)]
    cold, warm = (
        [
            tried_of(run_to_the_end(make_search(num_trials=4, sampler=sampler, known=known_ones)))
            for sampler in ("tpe", "random")
        ]
        for known_ones in ([], before)
    )
    assert cold[0] == cold[1]
    assert warm[0][0] != warm[1][0]


def test_trials_outside_of_the_space_are_counted(tmp_path):
    records = trials(20)[:20]
    narrow = patch_space(SPACE.base, varied={"patch_size": (32, 64)})
    (found,) = known(run_folder(tmp_path / "before", records), space=narrow)
    assert {record.patch_size for record in found.records} <= {32, 64}
    num_outside = sum(record.patch_size not in (32, 64) for record in records)
    assert found.num_outside == num_outside > 0
    assert len(found.records) + num_outside == 20


def test_a_setting_that_one_of_two_sweeps_varies_is_compared_trial_by_trial(tmp_path):
    varied = patch_space(SPACE.base, varied={"learning_rate": (1e-3, 1e-2)})
    records = trials(20, space=varied)[:20]
    folder = run_folder(tmp_path / "varied", records, varied)
    (found,) = known(folder)  # which has it at 1e-3
    assert {record.learning_rate for record in found.records} == {1e-3}
    assert found.num_outside == sum(record.learning_rate == 1e-2 for record in records) > 0
    fixed = trials(6)[:6]
    (found,) = known(run_folder(tmp_path / "fixed", fixed), space=varied)
    assert len(found.records) == 6


def test_a_chunk_of_so_many_patches_is_the_same_in_a_record(tmp_path):
    chunks = patch_space(SPACE.base, varied={"patch_microbatch": ("none", 8)})
    folder = run_folder(tmp_path / "before", trials(12, space=chunks)[:12], chunks)
    (found,) = known(folder, space=chunks)
    assert found.num_outside == 0
    assert {record.patch_microbatch for record in found.records} == {"none", "8"}
    fixed = patch_space(replace(SPACE.base, patch_microbatch=8))
    (found,) = known(folder, space=fixed)
    assert {record.patch_microbatch for record in found.records} == {"8"}


def test_a_sweep_with_another_seed_may_be_used(tmp_path):
    other = patch_space(replace(SPACE.base, seed=7))
    (found,) = known(run_folder(tmp_path / "before", trials(4, space=other), other))
    assert len(found.records) >= 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 3}, "its trials have epochs=3, this sweep 100"),
        ({"backbone": "resnet18"}, 'its trials have backbone="resnet18", this sweep "resnet50"'),
        ({"data_dir": "/data"}, 'its trials have data_dir="/data", this sweep null'),
        ({"image_size": 256}, "its trials have image_size=256, this sweep 512"),
    ],
)
def test_a_sweep_with_other_settings_is_refused_with_the_difference(changes, named, tmp_path):
    other = patch_space(replace(SPACE.base, **changes))
    folder = run_folder(tmp_path / "before", [], other)
    with pytest.raises(ConfigError) as error:
        known(folder)
    assert str(error.value).startswith(f"--warm-start {folder}: {named}, so they cannot")
    assert "leave --warm-start out" in str(error.value)


def damage(name, content):
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "sweep.json").unlink(),
        damage("sweep.json", "{"),
        damage("sweep.json", "[]"),
        damage("sweep.json", json.dumps({"settings": {}})),
        damage("sweep.json", json.dumps({"settings": 3, "space": {}})),
        damage("sweep.json", json.dumps({"settings": "text", "space": {}})),
        damage("trials.parquet", ""),
        damage("trials.parquet", "no parquet file"),
        lambda folder: write_table(folder, {"trial_id": ["00000"]}),
        lambda folder: write_table(folder, {"trial_id": ["00000"], "status": ["completed"]}),
        lambda folder: write_table(folder, {"trial_id": ["00000"], "status": ["nonsense"]}),
    ],
)
def test_a_damaged_sweep_is_refused_in_one_line(spoil, tmp_path):
    folder = run_folder(tmp_path / "before", trials(2))
    spoil(folder)
    with pytest.raises(ConfigError) as error:
        known(folder)
    message = str(error.value)
    assert message.startswith(f"--warm-start {folder}: holds no readable sweep (")
    assert message.endswith("; give the --out folder of an earlier one")
    assert "\n" not in message


def write_table(folder, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), folder / "trials.parquet")


@pytest.mark.parametrize("place", ["missing", "file"])
def test_a_place_without_a_sweep_is_refused(place, tmp_path):
    (tmp_path / "file").write_text("content")
    with pytest.raises(ConfigError, match="holds no readable sweep"):
        known(tmp_path / place)


def test_a_sweep_in_which_nothing_has_ended_teaches_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open({"space": SPACE.describe(), "settings": shared_settings(SPACE)})
    folder._lock.close()  # killed
    (found,) = known(tmp_path)
    assert (found.records, found.num_outside) == ((), 0)


def test_settings_are_compared_as_they_are_in_the_file():
    assert shared_settings(SPACE) == json.loads(json.dumps(shared_settings(SPACE)))
    assert set(shared_settings(SPACE)) & {"budget", "device", "num_workers"} == set()
    assert shared_settings(SPACE)["epochs"] == TrialConfig().epochs


def test_peaks_of_another_kind_of_device_are_left_out(tmp_path):
    launched, refused = trials(4)[0], trials(12)[-1]
    assert (refused.status, refused.device) == (TrialStatus.PREDICTED_INFEASIBLE, "auto")
    records = [
        replace(launched, device="cpu"),
        replace(launched, trial_id="00090", group="00090", device="NVIDIA H100"),
        replace(refused, trial_id="00091", group="00091"),
    ]
    (both,) = known(run_folder(tmp_path / "both", records))
    assert [record.device for record in both.on("cpu")] == ["cpu"]
    assert [record.device for record in both.on("cuda")] == ["NVIDIA H100"]
    (one,) = known(run_folder(tmp_path / "one", [records[0], records[2]]))
    assert len(one.on("cpu")) == 2
    assert one.on("cuda") == ()


def test_a_setting_that_only_the_earlier_sweep_varied_is_compared_though_it_is_no_field(tmp_path):
    records = [record for record in trials() if record.status is TrialStatus.COMPLETED]
    other = [
        replace(record, settings={**record.settings, "weight_decay": 0.5}) for record in records[1:]
    ]
    folder = run_folder(tmp_path / "before", [records[0], *other])
    path = folder / "sweep.json"
    content = json.loads(path.read_text())
    content["space"]["weight_decay"] = {"role": "nuisance"}
    del content["settings"]["weight_decay"]
    path.write_text(json.dumps(content))
    (found,) = known(folder)
    assert len(found.records) == 1
    assert found.num_outside == len(other) > 0
