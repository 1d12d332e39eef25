from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchtrain.datasets.example import Example
from patchtrain.datasets.loading.image_data import ImageData
from patchtrain.datasets.loading.split import complete_split, draw_split, read_split, write_split
from patchtrain.datasets.targets.masks import MaskFiles, ThresholdMask
from patchtrain.errors import DataError


def examples_of(sizes: list[int]) -> list[Example]:
    return [
        Example(f"c{target}-{number}", Path("x"), target)
        for target, size in enumerate(sizes)
        for number in range(size)
    ]


def counts(assignment, target: int) -> Counter:
    return Counter(s for name, s in assignment.items() if name.startswith(f"c{target}-"))


def test_split_gives_each_class_its_share():
    assignment = draw_split(examples_of([100, 50, 10]), 0.2, 0.1, seed=0)
    assert counts(assignment, 0) == {"train": 70, "val": 20, "test": 10}
    assert counts(assignment, 1) == {"train": 35, "val": 10, "test": 5}
    assert counts(assignment, 2) == {"train": 7, "val": 2, "test": 1}


def test_split_does_not_depend_on_the_order():
    examples = examples_of([9, 5, 7])
    assert draw_split(examples, 0.2, 0.2, 3) == draw_split(examples[::-1], 0.2, 0.2, 3)


def test_split_depends_on_the_seed():
    examples = examples_of([20, 20])
    assert draw_split(examples, 0.5, 0, 0) != draw_split(examples, 0.5, 0, 1)


def test_leaving_an_image_out_moves_few_others():
    examples = examples_of([40, 40])
    before, after = (draw_split(part, 0.25, 0, 0) for part in (examples, examples[1:]))
    assert sum(before[name] != split for name, split in after.items()) <= 1


def test_small_classes_get_a_val_image_each():
    assignment = draw_split(examples_of([40, 2, 2]), 0.1, 0, seed=0)
    assert [counts(assignment, target)["val"] for target in range(3)] == [2, 1, 1]


def test_a_class_of_one_image_trains():
    assert draw_split(examples_of([1, 9]), 0.4, 0.2, seed=0)["c0-0"] == "train"


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    val=st.floats(0.05, 0.5),
    test=st.floats(0, 0.4),
    seed=st.integers(0, 5),
)
def test_totals_follow_the_fractions_and_every_class_trains(sizes, val, test, seed):
    assignment = draw_split(examples_of(sizes), val, test, seed)
    total = Counter(assignment.values())
    most = sum(sizes) - len(sizes)
    assert len(assignment) == sum(sizes)
    assert total["val"] == min(most, max(1, round(sum(sizes) * val)))
    wanted_test = max(1, round(sum(sizes) * test)) if test > 0 else 0
    assert total["test"] == min(most - total["val"], wanted_test)
    assert all(counts(assignment, target)["train"] >= 1 for target in range(len(sizes)))


def test_a_written_split_reads_back(tmp_path):
    examples = examples_of([3, 2])
    data = ImageData(
        train=tuple(examples[:3]), val=(examples[3],), test=(examples[4],), class_names=("a", "b"),
        is_sample=False, num_skipped=0, data_dir=tmp_path,
    )  # fmt: skip
    write_split(tmp_path / "split.csv", data)
    assert read_split(tmp_path / "split.csv", [e.image_id for e in examples]) == {
        "c0-0": "train", "c0-1": "train", "c0-2": "train", "c1-0": "val", "c1-1": "test",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["split.csv"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("image_id,split\nzz,train\n", "line 2: image_id 'zz' is not in the data set"),
        ("image_id,split\n,train\n", "line 2: image_id '' is not in the data set"),
        ("image_id,split\na,train\na,val\n", "line 3: image_id 'a' is listed twice"),
        ("image_id,split\na,validation\n", "has split 'validation'; use one of train, val, test"),
        ("image_id,part\na,train\n", r"has no column split \(found 'image_id', 'part'\)"),
        ("image_id,split\n", "has a header but no rows"),
        ("", "is empty"),
    ],
)
def test_bad_split_files_are_errors(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.csv", ["a", "b"])


def test_a_missing_split_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read \(No such file"):
        read_split(tmp_path / "none.csv", ["a"])


def test_parts_of_a_data_set_stay_and_the_rest_is_drawn_from_its_training_images():
    examples = examples_of([20])
    parts = {f"c0-{number}": "test" for number in range(5)}
    assignment = complete_split(examples, parts, 0.2, 0, seed=0)
    assert {name for name, split in assignment.items() if split == "test"} == set(parts)
    assert counts(assignment, 0) == {"train": 12, "val": 3, "test": 5}


def test_a_fraction_does_not_count_for_a_split_that_the_data_set_has():
    parts = {"c0-0": "val", "c0-1": "train"}
    assignment = complete_split(examples_of([10]), parts, 0.5, 0.2, seed=0)
    assert counts(assignment, 0) == {"train": 7, "val": 1, "test": 2}


def test_images_with_masks_are_one_class():
    examples = [
        Example(str(number), Path("x"), MaskFiles(Path("m"), ThresholdMask()))
        for number in range(10)
    ]
    assert Counter(draw_split(examples, 0.2, 0.1, 0).values()) == {"train": 7, "val": 2, "test": 1}
