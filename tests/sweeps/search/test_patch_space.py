"""Spaces draw only configurations that a trainer accepts."""

import itertools
import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.record import TrialRecord
from sweeps.results.records import unstarted_record
from sweeps.search.patch_space import MAX_GRID, MIN_PATCH_PX, patch_sizes, patch_space
from sweeps.search.settings import SEARCHABLE, Role, role
from sweeps.search.values import Range, parse_varied


def draws(space, num_draws=50, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(space.distributions).params for _ in range(num_draws)]


EVERYTHING = {
    "backbone": ("resnet18", "resnet50"),
    "method": ("local_global", "patchgd", "downsampled", "full"),
    "learning_rate": None,
    "precision": None,
    "patch_microbatch": ("none", "auto", 4),
}


MASKS = TrialConfig.from_mapping({"dataset": "drive"})


def space_at(image_size, **settings):
    base = TrialConfig(image_size=image_size, patch_size=patch_sizes(image_size)[0])
    return patch_space(base, **settings)


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


def test_equal_draws_are_one_trial_whatever_the_method_ignores():
    space = space_at(512, varied=EVERYTHING)
    one, other = draws(space, 2)
    ignored = {
        "local_global": set(),
        "patchgd": {"fusion"},
        "downsampled": {"fusion", "sampling_rate", "inner_iterations"},
        "full": {"fusion", "sampling_rate", "inner_iterations", "patch_size"},
    }
    one = one | {"patch_size": 32, "sampling_rate": 0.1, "inner_iterations": 2, "fusion": "add"}
    other = other | {
        "patch_size": 64,
        "sampling_rate": 0.4,
        "inner_iterations": 9,
        "fusion": "concat",
        "learning_rate": 2 * one["learning_rate"],
        "precision": {"fp32": "bf16", "bf16": "fp32"}[one["precision"]],
        "patch_microbatch": {"none": 4, "auto": "none", 4: "auto"}[one["patch_microbatch"]],
        "backbone": {"resnet18": "resnet50", "resnet50": "resnet18"}[one["backbone"]],
    }
    for method, names in ignored.items():
        params = one | {"method": method}
        for name in other.keys() - {"method"}:
            is_same = space.identity(params) == space.identity(params | {name: other[name]})
            assert is_same == (name in names), (method, name)


# settings that are varied beside the four


@given(
    image_size=st.sampled_from([64, 96, 128, 250, 640, 1000, 2048, 4096]),
    seed=st.integers(min_value=0, max_value=2**31),
)
@settings(deadline=None, max_examples=40)
def test_every_draw_of_everything_is_a_valid_trial_that_its_record_gives_back(image_size, seed):
    space = space_at(image_size, varied=EVERYTHING)
    for params in draws(space, 5, seed):
        assert space.contains(params)
        config = space.config(params, 10**9)
        assert {name: getattr(config, name) for name in params} == params
        record = unstarted_record(config, "00000", "test", RuntimeError())
        again = space.params(TrialRecord.from_row(record.to_row()))
        assert again == params
        assert [type(value) for value in again.values()] == [type(params[name]) for name in again]
        assert space.config(again, record.budget_bytes) == config


@pytest.mark.parametrize("varied", [None, EVERYTHING, {"sampling_rate": (0.5, 0.1, 0.2)}])
@pytest.mark.parametrize("num_steps", [2, 4, None])
def test_points_are_members_and_train_something_different_each(varied, num_steps):
    space = space_at(128, varied=varied)
    points = list(space.points(num_steps))
    assert all(space.contains(params) for params in points)
    identities = set(map(space.identity, points))
    assert len(identities) == len(points)
    if num_steps is None and varied is not EVERYTHING:  # which has a range of learning rates
        assert {space.identity(params) for params in draws(space)} <= identities


@pytest.mark.parametrize("low_high", [(0.07, 0.29), (0.29, 0.58), (0.001, 0.005), (0.57, 1.0)])
def test_points_have_every_number_of_patches_that_rates_select(low_high):
    # 0.29 * 100 is 28.999999999999996
    low, high = low_high
    space = patch_space(
        TrialConfig(image_size=640, patch_size=64),
        fixed={"patch_size", "inner_iterations", "fusion"},
        varied={"sampling_rate": Range(low=low, high=high)},
    )
    numbers = [space.config(params).num_sampled for params in space.points()]
    first, last = (space.config({"sampling_rate": rate}).num_sampled for rate in low_high)
    assert numbers == list(range(first, last + 1))


def test_points_that_differ_in_rate_come_together_with_the_fewest_patches_first():
    space = space_at(512, varied={"sampling_rate": (0.5, 0.05, 0.2)})
    groups = [
        (rest, [params["sampling_rate"] for params in points])
        for rest, points in itertools.groupby(
            space.points(), key=lambda params: params | {"sampling_rate": None}
        )
    ]
    assert all(rates == sorted(rates) for _, rates in groups)
    assert len({tuple(rest.values()) for rest, _ in groups}) == len(groups)


def test_what_lies_outside_of_the_space_is_no_member():
    space = space_at(512, varied={"learning_rate": None})
    (params,) = draws(space, 1)
    assert space.contains(params)
    for name, value in [
        ("patch_size", 100),
        ("sampling_rate", 0.04),
        ("inner_iterations", 13),
        ("fusion", "max"),
        ("learning_rate", 1.0),
    ]:
        assert not space.contains(params | {name: value})
        assert not space.contains({key: v for key, v in params.items() if key != name})


def test_patch_sizes_of_segmentation_suit_its_networks():
    assert 240 in patch_sizes(1200)
    with pytest.raises(ConfigError, match="in multiples of 32"):
        patch_sizes(1200, task="segmentation")
    assert all(size % 32 == 0 for size in patch_sizes(3072, task="segmentation"))


def test_segmentation_varies_its_own_values_by_default():
    space = patch_space(MASKS, varied={"method": None, "learning_rate": None, "backbone": None})
    assert space.choices("method") == ("local_global", "patchgd", "tiled", "downsampled")
    assert space.choices("backbone") == ("unet", "deeplabv3")
    rates = space.distributions["learning_rate"]
    assert (rates.low, rates.high) == (1e-5, 1e-3)
    for params in draws(space):
        assert space.config(params).task == "segmentation"


def test_classification_has_no_encoder_to_vary():
    with pytest.raises(ConfigError, match="--vary encoder: classification does not read it"):
        space_at(512, varied={"encoder": ("resnet18", "resnet34")})


def test_everything_that_can_be_varied_has_a_role():
    varied = EVERYTHING | {"patch_size": (128, 256), "inner_iterations": Range(low=2, high=5)}
    described = patch_space(TrialConfig(), varied=varied).describe()
    of_segmentation = patch_space(MASKS, varied={"encoder": ("resnet18", "resnet34")}).describe()
    described["encoder"] = of_segmentation["encoder"]
    assert described.keys() <= set(SEARCHABLE)
    for name, entry in described.items():
        assert entry["role"] == role(name).value
    assert all(role(name) in (Role.SCIENTIFIC, Role.NUISANCE) for name in SEARCHABLE)
    assert described["patch_size"]["attributes"] == {"choices": [128, 256]}
    assert described["inner_iterations"]["attributes"]["high"] == 5
    assert described["learning_rate"]["attributes"] == {
        "low": 1e-4,
        "high": 1e-2,
        "log": True,
        "step": None,
    }


def test_values_are_read_from_the_command_line():
    varied = parse_varied(
        [
            "learning_rate",
            "backbone=resnet18, resnet50",
            "sampling_rate=0.1:0.5",
            "patch_microbatch=none,8",
            " precision = bf16 ",
        ]
    )
    assert varied == {
        "learning_rate": None,
        "backbone": ("resnet18", "resnet50"),
        "sampling_rate": Range(low=0.1, high=0.5),
        "patch_microbatch": ("none", 8),
        "precision": ("bf16",),
    }
    space = patch_space(TrialConfig(), varied=parse_varied(["learning_rate=1e-3,3e-3"]))
    assert space.choices("learning_rate") == (1e-3, 3e-3)  # which YAML takes for text


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["momentum"], r"--vary momentum: unknown; use one of patch_size, .*patch_microbatch"),
        (["fusion", "fusion=add"], r"--vary fusion is given twice; give it once"),
        (["backbone"], r"--vary backbone: needs values; write --vary backbone=A,B"),
        (["fusion="], r"--vary fusion=: has an empty value; write"),
        (["fusion=add,"], r"--vary fusion=add,: has an empty value; write"),
        (["fusion=add,add"], r"--vary fusion=add,add: has a value twice; give each once"),
        (["learning_rate=1e-3,0.001"], r"--vary learning_rate=0.001,0.001: has a value twice"),
        (["fusion=max"], r"--vary fusion: fusion='max' is .*add, concat"),
        (["fusion=[add"], r"--vary fusion=\[add: cannot read '\[add' as a value; write"),
        (["fusion=[]"], r"--vary fusion=\[\]: cannot read '\[\]' as a value; write"),
        (
            ["fusion=2026-13-01"],
            r"fusion='2026-13-01' is not accepted; use one of add, concat",
        ),
        (["fusion={}"], r"--vary fusion=\{\}: cannot read '\{\}' as a value; write"),
        (["learning_rate=1e-2:1e-3"], r"1e-2:1e-3: a range is LOW:HIGH with 0 < LOW < HIGH"),
        (["learning_rate=1e-3:1e-3"], r"1e-3:1e-3: a range is LOW:HIGH with 0 < LOW < HIGH"),
        (["learning_rate=0:1"], r"=0:1: a range is LOW:HIGH with 0 < LOW < HIGH"),
        (["learning_rate=a:b"], r"=a:b: a range is LOW:HIGH with 0 < LOW < HIGH"),
        (["learning_rate=1e-3:"], r"=1e-3:: a range is LOW:HIGH"),
        (["learning_rate=1e-3:inf"], r"=1e-3:inf: a range is LOW:HIGH"),
        (["learning_rate=-1,1"], r"--vary learning_rate: learning_rate=-1.* must be positive"),
        (["sampling_rate=0.5:1.5"], r"--vary sampling_rate: sampling_rate=1.5 must be above 0"),
        (["inner_iterations=1.5:3"], r"=1.5:3: takes whole numbers; round them"),
        (["inner_iterations=2.5"], r"--vary inner_iterations: inner_iterations=2.5 is not"),
        (["patch_size=64:256"], r"--vary patch_size: takes no range LOW:HIGH; write"),
        (["method=1:2"], r"--vary method: takes no range LOW:HIGH; write --vary method=A,B"),
        (["method=nonsense"], r"--vary method: method='nonsense' is .*local_global"),
        (["patch_size=100"], r"--vary patch_size: patch_size=100 does not divide image_size=512"),
        (["patch_microbatch=0"], r"--vary patch_microbatch: patch_microbatch=0 is not accepted"),
        (["precision=fp8"], r"--vary precision: precision='fp8' is .*fp32, bf16"),
        (["method=downsampled", "fusion"], r"--vary fusion: method=downsampled does not read it"),
    ],
)
def test_bad_values_are_one_line_with_the_remedy(texts, message):
    with pytest.raises(ConfigError, match=message) as error:
        patch_space(TrialConfig(), varied=parse_varied(texts))
    assert "\n" not in str(error.value)
    assert ";" in str(error.value) or "LOW < HIGH, e.g." in str(error.value)


def test_what_is_fixed_cannot_be_varied():
    with pytest.raises(ConfigError, match=r"--vary fusion: is fixed .*give one of the two"):
        patch_space(TrialConfig(), {"fusion"}, varied={"fusion": None})


@pytest.mark.parametrize("base_method", ["local_global", "downsampled", "full"])
def test_patch_sizes_that_are_given_fit_every_method_of_the_space(base_method):
    base = TrialConfig(method=base_method)
    space = patch_space(base, varied={"patch_size": (64, 128), "method": EVERYTHING["method"]})
    for params in draws(space):
        assert space.config(params).patch_size in (64, 128)
    with pytest.raises(ConfigError, match="patch_size=100 does not divide"):
        patch_space(base, varied={"patch_size": (100,), "method": ("local_global",)})
