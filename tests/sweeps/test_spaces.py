"""Spaces draw only configurations that a trainer accepts."""

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from sweeps.spaces import MAX_GRID, MIN_PATCH_PX, Role, patch_sizes, patch_space


def draws(space, num_draws=50):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [study.ask(space.distributions).params for _ in range(num_draws)]


@pytest.mark.parametrize("image_size", [64, 96, 256, 512, 1000, 2520, 4096])
@pytest.mark.parametrize("method", ["local_global", "patchgd", "downsampled"])
def test_every_draw_is_a_valid_trial(image_size, method):
    base = TrialConfig(image_size=image_size, patch_size=patch_sizes(image_size)[0], method=method)
    space = patch_space(base)
    for params in draws(space):
        config = space.config(params, 10**9)
        assert config.budget == 10**9
        assert {name: getattr(config, name) for name in params} == params


@given(st.integers(min_value=2 * MIN_PATCH_PX, max_value=8192))
def test_patch_sizes_divide_the_image_into_grids_within_bounds(image_size):
    try:
        sizes = patch_sizes(image_size)
    except ConfigError as error:
        assert f"image_size={image_size}" in str(error)
        least = max(MIN_PATCH_PX, math.ceil(image_size / MAX_GRID))
        assert all(image_size % size for size in range(least, image_size // 2 + 1))
        return
    assert list(sizes) == sorted(set(sizes))
    for size in sizes:
        assert image_size % size == 0
        assert size >= MIN_PATCH_PX
        assert 2 <= image_size // size <= MAX_GRID


def test_the_papers_patch_sizes_are_in_the_space():
    assert {128, 256} < set(patch_sizes(4096))
    assert 128 in patch_sizes(512)


def test_image_without_a_grid_names_size_and_remedy():
    with pytest.raises(ConfigError, match=r"image_size=37 .*use a multiple of 64"):
        patch_sizes(37)


def test_a_fixed_parameter_keeps_its_value_and_says_so():
    space = patch_space(TrialConfig(fusion="concat"), fixed={"fusion", "learning_rate"})
    assert "fusion" not in space.distributions
    assert space.describe()["fusion"] == {"role": "fixed", "value": "concat"}
    assert all(space.config(params, 1).fusion == "concat" for params in draws(space, 5))


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("local_global", {"patch_size", "sampling_rate", "inner_iterations", "fusion"}),
        ("patchgd", {"patch_size", "sampling_rate", "inner_iterations"}),
        ("downsampled", {"patch_size"}),
    ],
)
def test_only_what_the_method_uses_is_varied(method, names):
    assert set(patch_space(TrialConfig(method=method)).distributions) == names


def test_nothing_to_search_is_an_error():
    with pytest.raises(ConfigError, match="method='full' leaves nothing to search"):
        patch_space(TrialConfig(method="full"))
    with pytest.raises(ConfigError, match=r"fixed: patch_size"):
        patch_space(TrialConfig(method="downsampled"), fixed={"patch_size"})


def test_every_parameter_has_a_role():
    described = patch_space(TrialConfig()).describe()
    assert {entry["role"] for entry in described.values()} <= {role.value for role in Role}
    assert described["inner_iterations"]["role"] == "nuisance"


def test_rates_that_select_equally_many_patches_are_one_trial():
    space = patch_space(TrialConfig(image_size=512, patch_size=128))
    params = {"patch_size": 128, "inner_iterations": 2, "fusion": "add"}
    one = space.identity({**params, "sampling_rate": 0.20})
    assert one == space.identity({**params, "sampling_rate": 0.24})
    assert one != space.identity({**params, "sampling_rate": 0.26})
    assert one != space.identity({**params, "sampling_rate": 0.20, "fusion": "concat"})
