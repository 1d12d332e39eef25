"""The paper's configurations: those of its table, as draws from a space, tried first."""

import csv
from pathlib import Path

import pytest
from made_up_sweep import make_search
from optuna.storages import InMemoryStorage

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from sweeps.search.paper import paper_points
from sweeps.search.patch_space import patch_sizes, patch_space

TABLE = Path(__file__).parents[3] / "analysis" / "reference" / "table_I.csv"
COLUMNS = ("method", "patch_size", "sampling_rate", "inner_iterations")


def space_at(image_size, *, varied=None, fixed=(), **settings):
    base = {"image_size": image_size, "patch_size": patch_sizes(image_size)[0], **settings}
    return patch_space(TrialConfig(**base), fixed, varied=varied)


def trained(space, points):
    configs = [space.config(params) for params in points]
    return sorted(tuple(getattr(config, name) for name in COLUMNS) for config in configs)


@pytest.mark.parametrize("image_size", [512, 2048, 4096])
def test_the_points_are_the_rows_of_the_papers_table(image_size):
    space = space_at(image_size, varied={"method": None, "learning_rate": None, "precision": None})
    points = paper_points(space)
    with TABLE.open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["image_size"]) == image_size]
    expected = sorted(
        (
            row["method"],
            int(row["patch_size"]),
            float(row["sampling_rate"]) / 100,
            int(row["inner_iterations"]),
        )
        for row in rows
    )
    assert trained(space, points) == expected
    assert all(space.contains(params) for params in points)
    shared = {(params["fusion"], params["learning_rate"], params["precision"]) for params in points}
    assert shared == {("add", 1e-3, "fp32")}


@pytest.mark.parametrize("method", ["local_global", "patchgd"])
def test_a_sweep_of_one_method_has_that_methods_rows(method):
    points = paper_points(space_at(4096, method=method))
    assert [params["patch_size"] for params in points] == [128, 256]


@pytest.mark.parametrize(
    ("varied", "backbone"),
    [
        (("resnet18", "resnet50"), "resnet50"),
        (("resnet18", "test_resnet"), "test_resnet"),  # the sweep's own
    ],
)
def test_the_papers_backbone_is_taken_where_it_is_in_the_space(varied, backbone):
    space = space_at(512, varied={"backbone": varied}, backbone="test_resnet")
    assert [params["backbone"] for params in paper_points(space)] == [backbone]


def test_the_papers_global_patch_runs_with_gradient_and_without_a_scale():
    points = paper_points(space_at(512, varied={"global_pass": None, "fusion_scale": None}))
    assert [(params["global_pass"], params["fusion_scale"]) for params in points] == [
        ("joint", "none")
    ]


def test_an_image_size_without_rows_says_which_have_some():
    with pytest.raises(ConfigError, match=r"image_size=256; use --image-size 512 or 2048 or 4096"):
        paper_points(space_at(256))


@pytest.mark.parametrize(
    "space",
    [
        space_at(512, varied={"patch_size": (64,)}),
        space_at(512, fixed={"inner_iterations"}, inner_iterations=3),
        space_at(512, method="downsampled"),
    ],
)
def test_a_space_without_the_papers_values_is_an_error(space):
    with pytest.raises(ConfigError, match=r"none of the paper's .* image_size=512 lies in"):
        paper_points(space)


def test_a_fixed_value_that_is_the_papers_will_do():
    space = space_at(512, fixed={"patch_size"}, patch_size=128)
    assert trained(space, paper_points(space)) == [("local_global", 128, 0.2, 4)]


def test_the_papers_configurations_are_tried_first_and_once():
    space, storage = space_at(4096, varied={"method": None}), InMemoryStorage()
    first = paper_points(space)
    assert len(first) == 4
    before = make_search(storage, space=space, num_trials=12, first=first)
    asked = [before.ask() for _ in range(3)]
    resumed = make_search(storage, space=space, num_trials=12, first=first)
    assert [resumed.ask() for _ in range(3)] == asked
    asked += [resumed.ask() for _ in range(9)]
    assert [suggestion.params for suggestion in asked[:4]] == first
    identities = [space.identity(suggestion.params) for suggestion in asked]
    assert len(set(identities)) == len(identities) == 12
