"""The contract suite of methods: how an image is trained on.

Derive a test class from `MethodContract` and name your method in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from patchtrain import catalog
from patchtrain.catalog import MethodFacts
from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.errors import ConfigError
from patchtrain.methods import Method
from patchtrain.tasks import build_task
from patchtrain.testing.rules import (
    check_chunks_change_no_gradient,
    check_deterministic,
    check_estimate_exact,
    check_leaves_nothing_behind,
    check_one_line,
    check_resumes,
    trained,
)
from patchtrain.testing.trials import build_engine, first_loss, random_batch, tiny_trial

ESTIMATE_CASES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "chunks_in_bf16": {
        "patch_microbatch": 1,
        "norm": "group",
        "precision": "bf16",
        "accumulation_steps": 2,
        "inner_iterations": 3,
    },
}
"""Settings with which the estimate is held against the meter."""

_NORM_FOR_CHUNKS: Mapping[str, str] = {
    "classification": "group",
    "segmentation": "frozen",  # group norm of maps of one pixel magnifies rounding
    "detection": "group",
}
"""Norms that mix no inputs; with batch norm one image's patches stay together."""

_OTHER_VALUES: Mapping[str, Mapping[str, Any]] = {
    "classification": {
        "patch_size": 64,
        "fusion": "concat",
        "fusion_scale": 0.0,
        "global_pass": "filled",
        "aggregator": "attention",
    },
    "segmentation": {
        "patch_size": 64,
        "fusion": "add",
        "fusion_scale": 0.0,
        "global_pass": "joint",
    },
    "detection": {
        "patch_size": 128,
        "fusion": "add",
        "fusion_scale": 0.0,
        "global_pass": "filled",
        "layout": "stack",
        "tile_overlap": 0.0,
    },
}
"""Of settings that not every method reads, values that differ from the tiny trial's."""


class MethodContract:
    """What a method must keep to, on every task that it takes.

    Attributes:
        method: the name that a configuration has, such as `my_parts:Mine`.
        settings: changes to the tiny trials, if the method needs any.
        tasks: the tasks to test it on; None: all that it takes.
    """

    method: str
    settings: Mapping[str, Any] = {}
    tasks: Collection[str] | None = None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test for each task that the method takes, and each case of an estimate."""
        if "task" in metafunc.fixturenames:
            metafunc.parametrize("task", self._tasks())
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", ESTIMATE_CASES)

    def trial(self, task: str, **changes: Any) -> TrialConfig:
        """Return the tiny trial of `task` with this method."""
        return tiny_trial(task, **{**self.settings, **changes, "method": self.method})

    @property
    def facts(self) -> MethodFacts:
        """The facts that the method declares."""
        return catalog.method(self.method)

    # --- facts ---

    def test_it_is_a_method_with_facts(self) -> None:
        """The name leads to a subclass of `Method` that declares its facts."""
        assert isinstance(self.facts, MethodFacts)
        assert issubclass(catalog.implementation("method", self.method, Method), Method)
        assert self._tasks(), "it refuses every task"

    def test_its_facts_name_settings_tasks_and_methods_that_exist(self) -> None:
        """A typing mistake in the facts would go unnoticed."""
        settings = {field.name for field in dataclasses.fields(TrialConfig)}
        assert set(self.facts.reads) <= settings, "`reads` names settings that do not exist"
        assert set(self.facts.refuses) <= set(catalog.TASKS), "`refuses` names unknown tasks"
        if self.facts.leaner is not None:
            catalog.method(self.facts.leaner)

    def test_its_facts_agree_with_each_other(self) -> None:
        """A latent block needs a grid, and a global patch a latent block to join."""
        facts = self.facts
        assert facts.samples_patches or not facts.has_latent, "has_latent without samples_patches"
        assert facts.has_latent or not facts.has_global, "has_global without has_latent"
        needed = {"patch_size"} if facts.input_side == "patch_size" else set()
        if facts.samples_patches:
            needed |= {"patch_size", "sampling_rate", "inner_iterations"}
        if facts.has_global:
            needed |= {"fusion"}
        assert needed <= set(facts.reads), f"`reads` lacks {sorted(needed - set(facts.reads))}"

    def test_a_task_that_it_refuses_is_refused_in_one_line(self) -> None:
        """The message says which method, and what to use instead."""
        for task, reason in self.facts.refuses.items():
            with pytest.raises(ConfigError) as caught:
                self.trial(task)
            check_one_line(caught.value, self.method, reason)

    # --- training ---

    def test_equal_seeds_train_alike_and_others_do_not(self, task: str) -> None:
        """Nothing is drawn but from the generator that `backward` gets."""
        check_deterministic(self.trial(task))

    def test_settings_that_it_does_not_read_change_nothing(self, task: str) -> None:
        """A sweep takes two trials for one that differ in such settings only."""
        of_methods = frozenset().union(*(facts.reads for facts in catalog.METHODS.values()))
        others = {"sampling_rate": 0.6, "inner_iterations": 3, **_OTHER_VALUES[task]}
        unread = of_methods - set(self.facts.reads)
        changes = {name: value for name, value in others.items() if name in unread}
        loss = first_loss(self.trial(task, **changes))
        assert loss == trained(self.trial(task)).losses[0], (
            f"one of {sorted(changes)} is read, add it to facts"
        )

    def test_chunks_change_no_gradient(self, task: str) -> None:
        """`patch_microbatch` changes memory and time, never the gradient."""
        check_chunks_change_no_gradient(self.trial(task, norm=_NORM_FOR_CHUNKS[task]))

    def test_a_resumed_trial_ends_like_an_uninterrupted_one(self, task: str) -> None:
        """What a method remembers from batch to batch would be lost."""
        check_resumes(self.trial(task))

    # --- memory ---

    def test_the_estimate_is_exact(self, task: str, case: str) -> None:
        """The dry run allocates what a metered run does."""
        check_estimate_exact(self.trial(task, **ESTIMATE_CASES[case]))

    def test_nothing_is_held_between_batches(self, task: str) -> None:
        """`finish` lets go of everything that belongs to a batch."""
        check_leaves_nothing_behind(self.trial(task))

    # --- predicting ---

    def test_outputs_are_those_that_the_task_scores(self, task: str) -> None:
        """Shape and type are those of any method; the metrics can be computed."""
        config = self.trial(task)
        found = trained(config).outputs
        expected = trained(tiny_trial(task, **{**self.settings, "method": "downsampled"})).outputs
        assert found.shape == expected.shape, "outputs of another shape"
        assert found.dtype == expected.dtype, "outputs of another type"
        scorer = build_task(config, num_classes(config))
        metrics = scorer.metrics(scorer.score(found, random_batch(config).targets))
        assert scorer.metric_name in metrics

    def test_predicting_changes_no_weight_and_repeats_itself(self, task: str) -> None:
        """Validation must not train, and a second look must not see anything else."""
        config = self.trial(task)
        engine, guard = build_engine(config)
        before = {name: value.clone() for name, value in engine.network.state_dict().items()}
        with guard:
            first, again = (engine.predict(random_batch(config)) for _ in range(2))
        assert (first == again).all(), "two predictions of one batch differ"
        for name, value in engine.network.state_dict().items():
            assert value.equal(before[name]), f"predicting changes {name}"
        assert engine.network.training, "predicting leaves evaluation mode on"

    def _tasks(self) -> list[str]:
        try:
            refused = set(self.facts.refuses)
        except ConfigError:  # the test of the facts fails for it
            refused = set()
        wanted = catalog.TASKS if self.tasks is None else self.tasks
        return [task for task in wanted if task not in refused]
