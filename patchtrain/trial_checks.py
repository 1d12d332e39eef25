"""What can be said of a trial before it runs: mistakes in its settings, and its peak."""

from __future__ import annotations

from dataclasses import replace

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.device import resolve_device
from patchtrain.errors import ConfigError
from patchtrain.estimation.peak import Estimate
from patchtrain.estimation.predict import estimate
from patchtrain.memory.facts import GpuFacts
from patchtrain.memory.precision import check_precision
from patchtrain.methods import Method
from patchtrain.tasks import check_network


def check(config: TrialConfig) -> None:
    """Find the mistakes in `config` that show without data and without taking memory.

    Raises:
        ConfigError: an unknown name, a device that is not there or does not have the precision,
            networks that cannot take such patches.
    """
    check_precision(config.precision, resolve_device(config.device))
    catalog.implementation("method", config.method, Method)
    check_network(config)


def estimate_trial(
    config: TrialConfig, num_train: int, num_val: int, facts: GpuFacts | None = None
) -> Estimate:
    """Return the estimate for a trial of `config` with this many training and validation images.

    Args:
        facts: what is known of the GPU; None: as in `estimate`.

    Raises:
        ConfigError: its networks cannot be built or trained.
    """
    num_validated = min(config.batch_size, num_val) or None
    return estimate(as_run(config, num_train), num_validated, facts)


def check_last_batch(config: TrialConfig, size: int, num_train: int) -> None:
    """Check a last batch of `size` images.

    Raises:
        ConfigError: the networks cannot take so few.
    """
    try:
        check_network(config, batch_size=size)
    except ConfigError as error:
        raise ConfigError(
            f"batch_size={config.batch_size} leaves a last batch of {size} of the {num_train} "
            f"training images: {error}; or use a batch_size that leaves more"
        ) from None


def as_run(config: TrialConfig, num_train: int) -> TrialConfig:
    """Return `config` with the batch size that the training images allow."""
    num_images = num_train or config.batch_size  # none where only predicting
    return replace(config, batch_size=min(config.batch_size, num_images))
