"""What a trial will hold, by the estimator itself, and budgets that nothing fits."""

import math
import re

import pytest
from conftest import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_sweep import Predicted

from patchtrain.config import TrialConfig
from patchtrain.datasets import load_dataset
from patchtrain.errors import ConfigError
from patchtrain.trainer import Trainer
from sweeps.options import parser
from sweeps.panda_budget import SWEEP
from sweeps.plan import make_plan
from sweeps.search.patch_space import patch_space
from sweeps.search.prediction import Predictor, check_budgets

PREDICT = Predictor(38, 10, "cpu")


def test_the_prediction_is_what_the_trial_then_holds():
    config = tiny(image_size=64, sampling_rate=0.5, sample_num_images=10, epochs=1)
    data = load_dataset(config)
    predicted = Predictor(len(data.train), len(data.val), "cpu")(config)
    trainer = Trainer(config, data=data)
    trainer.run_epoch()
    peak_bytes = trainer.record().peak_allocated_bytes
    assert predicted.predicted_peak_bytes == predicted.needed_bytes == peak_bytes
    assert predicted.fits(peak_bytes)
    assert not predicted.fits(peak_bytes - 1)


def test_the_device_of_the_trials_counts_not_that_of_this_machine():
    config = tiny(image_size=64, sampling_rate=0.5)
    there, here = Predictor(10, 10, "cuda")(config), Predictor(10, 10, "cpu")(config)
    assert (there.device, here.device) == ("cuda", "cpu")
    assert there.needed_bytes > here.needed_bytes


def test_networks_that_cannot_be_trained_cannot_be_predicted():
    with pytest.raises(ConfigError, match="no_such_net"):
        PREDICT(tiny(backbone="no_such_net"))


def refusal_of(plan):
    with pytest.raises(ConfigError) as error:
        check_budgets(plan.space, plan.budgets_bytes, PREDICT)
    message = str(error.value)
    assert "\n" not in message
    return message


def plan_of(budget, *arguments):
    options = ["--smoke-test", "--budgets", budget, "90MB", "--image-size", "128", *arguments]
    return make_plan(SWEEP, parser(SWEEP).parse_args(options))


FULL = ["--vary method=full", "--vary precision=fp32"]
RATES = [
    "--vary sampling_rate=0.4:0.5",
    "--set patch_size=32",
    "--set inner_iterations=1",
    "--set fusion=add",
    "--set precision=bf16",
    "--set batch_size=2",
]


@pytest.mark.parametrize(
    ("budget", "arguments", "remedy"),
    [
        ("21.5MB", RATES, "--vary sampling_rate=0.1875:0.5"),
        ("20MB", FULL, "--vary method=checkpointed,full"),
        ("10MB", FULL, "--set batch_size=1 --vary method=checkpointed,full"),
    ],
)
def test_a_budget_that_nothing_fits_is_refused_with_remedies_that_work(budget, arguments, remedy):
    split = [word for argument in arguments for word in argument.split()]
    message = refusal_of(plan_of(budget, *split))
    assert message.startswith(f"--budgets {budget}: no configuration of this space fits")
    assert remedy in message
    (least,) = re.findall(r"at least (\d+B)", message)
    options = re.findall(r"--(?:set|vary) \S+", message)
    replaced = {option.partition("=")[0] for option in options}
    kept = [argument for argument in arguments if argument.partition("=")[0] not in replaced]
    for again in (
        plan_of(least, *split),
        plan_of(budget, *(word for option in (*kept, *options) for word in option.split())),
    ):
        check_budgets(again.space, again.budgets_bytes, PREDICT)
    one_less = plan_of(str(int(least.removesuffix("B")) - 1), *split)
    assert f"({least.removesuffix('B')} bytes, with" in refusal_of(one_less)


def test_a_budget_for_little_more_than_the_networks_asks_for_smaller_ones():
    message = refusal_of(plan_of("19.2MB", *(word for option in RATES for word in option.split())))
    assert message.endswith("or use smaller networks (--backbone) or images (--image-size)")


def test_draws_that_cannot_be_trained_do_not_hide_those_that_can():
    space = patch_space(TrialConfig(image_size=128, patch_size=32, method="patchgd"))

    def predict(config):
        if config.num_sampled * config.patch_size < 64:  # batch norm over one value
            raise ConfigError("too few")
        return Predicted(config.num_sampled * config.patch_size**2)

    check_budgets(space, [2 * 32**2], predict)


def test_a_space_of_which_nothing_can_be_trained_says_why():
    def predict(config):
        raise ConfigError(f"no patches of {config.patch_size}")

    with pytest.raises(ConfigError, match="no patches of 32"):
        check_budgets(patch_space(TrialConfig(image_size=128, patch_size=32)), [10**9], predict)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_the_smallest_peak_is_found_where_each_setting_has_its_own_share(data):
    space = patch_space(
        TrialConfig(image_size=512),
        varied={"method": ("local_global", "patchgd"), "precision": None},
    )
    names = ("patch_size", "fusion", "method", "precision")
    share = st.integers(min_value=1, max_value=50)
    shares = {(name, value): data.draw(share) for name in names for value in space.choices(name)}
    power = st.sampled_from([-1, 1])
    grows = {name: data.draw(power) for name in ("inner_iterations", "sampling_rate")}

    def predict(config):
        own = math.prod(shares[name, getattr(config, name)] for name in names)
        by_number = math.prod(getattr(config, name) ** grows[name] for name in grows)
        return Predicted(round(1e9 * own * by_number))

    least = min(predict(space.config(p)).needed_bytes for p in space.points(num_steps=2))
    check_budgets(space, [least, 10**18], predict)
