"""Each check of the contract suites fails on a part that breaks its rule."""

from __future__ import annotations

import pytest
from _pytest.outcomes import Failed

from patchtrain.errors import ConfigError, DataError
from patchtrain.testing import (
    AggregatorContract,
    ClassificationBackboneContract,
    DataSetContract,
    DetectionBackboneContract,
    MethodContract,
    SegmentationBackboneContract,
)

pytestmark = pytest.mark.filterwarnings("ignore")


def suite(kind: type, **attributes: str):
    """Return the suite of a broken part, as a test class has it."""
    names = {name: f"broken_parts:{value}" for name, value in attributes.items()}
    return type("Broken", (kind,), names)()


def check_fails(check, *arguments: object, said: str = "") -> None:
    """The check fails, as a test that failed or with an error that a user can cause."""
    with pytest.raises((AssertionError, ConfigError, DataError, Failed), match=said):
        check(*arguments)


@pytest.mark.parametrize(
    ("method", "check", "said"),
    [
        (
            "DrawsFromNumpy",
            "test_equal_seeds_train_alike_and_others_do_not",
            "equal seeds give different",
        ),
        ("HoldsFeatures", "test_nothing_is_held_between_batches", "bytes stay alive"),
        (
            "RemembersBatches",
            "test_a_resumed_trial_ends_like_an_uninterrupted_one",
            "a resumed trial ends differently",
        ),
        (
            "CountsChunks",
            "test_chunks_change_no_gradient",
            "patch_microbatch=1 changes the gradient",
        ),
        (
            "TrainsInPredict",
            "test_predicting_changes_no_weight_and_repeats_itself",
            "two predictions|predicting changes",
        ),
        (
            "OutputsOfOneImage",
            "test_outputs_are_those_that_the_task_scores",
            "outputs of another shape",
        ),
        (
            "ReadsMoreThanItSays",
            "test_settings_that_it_does_not_read_change_nothing",
            "is read, add it to facts",
        ),
    ],
)
def test_a_broken_method_is_found(method, check, said):
    broken = suite(MethodContract, method=method)
    check_fails(getattr(broken, check), "classification", said=said)


def test_a_method_whose_memory_depends_on_pixels_is_found():
    broken = suite(MethodContract, method="AllocatesByChance")
    check_fails(
        broken.test_the_estimate_is_exact, "classification", "plain", said="beside the meter's"
    )


@pytest.mark.parametrize(
    ("method", "check", "said"),
    [
        (
            "BadReads",
            "test_its_facts_name_settings_tasks_and_methods_that_exist",
            "settings that do not exist",
        ),
        (
            "GlobalWithoutLatent",
            "test_its_facts_agree_with_each_other",
            "has_global without has_latent",
        ),
        ("RefusesInLines", "test_a_task_that_it_refuses_is_refused_in_one_line", "several lines"),
        ("Vectors", "test_it_is_a_method_with_facts", "has no facts"),
    ],
)
def test_bad_facts_are_found(method, check, said):
    check_fails(getattr(suite(MethodContract, method=method), check), said=said)


BROKEN_BACKBONES = [
    ("LyingVectors", "it_gives_the_features_that_it_declares", "32.* features, not .*64"),
    ("LyingVectors", "every_method_accepts_it", "num_features is 64"),
    ("DrawnByNumpy", "its_weights_depend_on_the_seed_alone", "different weights"),
    ("DrawnByNumpy", "equal_seeds_train_alike", "equal seeds give different"),
    ("MixesInputs", "chunks_change_no_gradient", "changes the gradient"),
    ("MixesInputs", "predictions_of_an_image_do_not_depend_on_the_batch", "not close"),
    ("NeverUsed", "every_parameter_gets_a_gradient", "never used: spare"),
    ("OwnNorm", "group_norm_takes_the_place_of_batch_norm", "keeps statistics"),
    ("MovesItsStatistics", "frozen_norms_never_change", "statistics changed"),
    ("HalfMaps", "it_gives_the_features_that_it_declares", "maps of"),
    ("HalfMaps", "every_method_accepts_it", "stride"),
    ("CoarsePyramid", "its_maps_have_the_strides_that_the_pyramid_starts_from", "maps of"),
    ("CoarsePyramid", "every_method_accepts_it", "backbone='broken_parts:CoarsePyramid'"),
]


@pytest.mark.parametrize(("backbone", "check", "said"), BROKEN_BACKBONES)
def test_a_broken_backbone_is_found(backbone, check, said):
    kind = {"HalfMaps": SegmentationBackboneContract, "CoarsePyramid": DetectionBackboneContract}
    broken = suite(kind.get(backbone, ClassificationBackboneContract), backbone=backbone)
    arguments = (True,) if check == "it_gives_the_features_that_it_declares" else ()
    check_fails(getattr(broken, f"test_{check}"), *arguments, said=said)


def test_a_backbone_that_does_not_load_what_it_saves_is_found(tmp_path):
    broken = suite(ClassificationBackboneContract, backbone="UnderAnotherName")
    check_fails(broken.test_weights_are_saved_and_loaded, "batch", tmp_path)


@pytest.mark.parametrize(
    ("aggregator", "check", "arguments", "said"),
    [
        ("OneRow", "test_it_reads_every_grid", (4, "add"), "scores"),
        (
            "FixedGrid",
            "test_it_reads_every_grid",
            (5, "concat"),
            "aggregator='broken_parts:FixedGrid'",
        ),
        ("Detached", "test_it_reads_every_grid", (4, "add"), "no gradient|does not require grad"),
        ("CornerOnly", "test_every_part_of_the_grid_counts", (), "have no influence"),
        ("AcrossImages", "test_every_image_is_read_by_itself", (), "not close"),
    ],
)
def test_a_broken_aggregator_is_found(aggregator, check, arguments, said):
    broken = suite(AggregatorContract, aggregator=aggregator)
    check_fails(getattr(broken, check), *arguments, said=said)


@pytest.mark.parametrize(
    ("dataset", "check"),
    [
        ("Unsorted", "test_images_are_listed_in_order_with_ids_that_name_files"),
        ("OpensImages", "test_listing_opens_no_image"),
        ("UnknownTask", "test_it_is_a_data_set_with_facts"),
    ],
)
def test_a_broken_data_set_is_found(dataset, check, tmp_path):
    broken = suite(DataSetContract, dataset=dataset)
    needs_data = check != "test_it_is_a_data_set_with_facts"
    if needs_data:
        suite(DataSetContract, dataset="Colours").write(tmp_path / "data")
    check_fails(getattr(broken, check), *([tmp_path / "data"] if needs_data else []))


def test_a_data_set_that_needs_its_data_for_class_names_is_found(tmp_path):
    broken = suite(DataSetContract, dataset="NeedsData")
    with pytest.raises(ConfigError, match=r"NeedsData.*FileNotFoundError"):
        broken.test_its_classes_are_known_without_data(tmp_path)


def test_a_data_set_that_raises_something_else_is_found(tmp_path):
    broken = suite(DataSetContract, dataset="SaysNothingOfFolders")
    with pytest.raises(AssertionError, match="does not mention"):
        broken.test_a_folder_without_the_data_is_named_in_one_line(True, tmp_path)


def test_samples_that_differ_each_time_are_found(tmp_path):
    broken = suite(DataSetContract, dataset="SamplesByChance")
    check_fails(broken.test_samples_are_repeated_to_the_byte, tmp_path)
