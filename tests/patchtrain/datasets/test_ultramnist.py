"""UltraMNIST: the generator, and the reader of its two published layouts."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_data import real, trial
from PIL import Image
from scipy import ndimage

from patchtrain.cli import EXIT_BAD_INPUT, main
from patchtrain.config import TrialConfig
from patchtrain.datasets import data_set, load_dataset
from patchtrain.datasets.samples import ultramnist
from patchtrain.datasets.samples.mnist import Digits, read_mnist, scanned_digits
from patchtrain.errors import ConfigError, DataError


def config(data_dir: Path, **settings) -> TrialConfig:
    return trial("ultramnist", data_dir, **settings)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message and ";" in message
    return message


def write_three(folder: Path, mnist_dir: Path) -> None:
    ultramnist.write_sample(folder / "out", 3, 64, 0, mnist_dir=mnist_dir)


def solid_digits() -> Digits:
    """Digits that are squares of 28 px without a dark pixel, so that they can be counted."""
    return Digits(np.full((10, 28, 28), 255, np.uint8), np.arange(10))


def write_idx(path: Path, magic: int, values: np.ndarray) -> None:
    shape = np.array(values.shape, ">u4").tobytes()
    content = magic.to_bytes(4, "big") + shape + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def mnist_dir(tmp_path) -> Path:
    """MNIST's four files with 20 digits each: number n has n rows of ink."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    labels = np.arange(20) % 10
    images = np.zeros((20, 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[: label + 1] = 100
    for part, ending in (("train", ""), ("t10k", ".gz")):
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", 2051, images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", 2049, labels)
    return folder


# --- the images ---


@pytest.mark.parametrize("digit_sum", [0, 9, 27])
def test_an_image_has_three_to_five_digits_that_do_not_overlap(digit_sum):
    rng = np.random.default_rng(digit_sum)
    counts = Counter()
    for _ in range(40):
        image = ultramnist.draw_image(solid_digits(), digit_sum, 700, rng)
        sizes = [
            box[0].stop - box[0].start for box in ndimage.find_objects(ndimage.label(image)[0])
        ]
        area = (image > 0).sum()
        # squares that touch at a side look like one, but their area is still that of squares
        if area == sum(size**2 for size in sizes):
            counts[len(sizes)] += 1
            assert all(size == 14 or size % 28 == 0 for size in sizes)
            assert max(sizes) <= 280
    assert set(counts) <= {3, 4, 5} and sum(counts.values()) > 30


def test_the_digits_have_the_sum():
    """Digits that show their value: n + 1 lit pixels in the corner of 28."""
    images = np.zeros((10, 28, 28), np.uint8)
    for value in range(10):
        images[value, 0, : value + 1] = 255
    digits = Digits(images, np.arange(10))
    rng = np.random.default_rng(0)
    for digit_sum in range(28):
        image = ultramnist.draw_image(digits, digit_sum, 64, rng)  # scale 1, or every second pixel
        widths = [
            box[1].stop - box[1].start for box in ndimage.find_objects(ndimage.label(image)[0])
        ]
        low = sum(width - 1 for width in widths)  # if none was shrunk
        high = sum(2 * width - 1 for width in widths)  # if all were
        assert low <= digit_sum <= high


def test_small_and_large_digits_are_likelier_than_those_between():
    rng = np.random.default_rng(0)
    scan = np.ones((28, 28), np.uint8)
    sizes = Counter(len(ultramnist._resized(scan, 4000, rng)) for _ in range(6000))
    assert set(sizes) == {14, *range(28, 281, 28)}
    ones = sizes[14] + sizes[28]
    # weights 5 4 3 2 1 1 2 3 4 5 of 30
    assert ones / 6000 == pytest.approx(5 / 30, abs=0.02)
    assert sizes[280] / 6000 == pytest.approx(5 / 30, abs=0.02)
    assert sizes[140] / 6000 == pytest.approx(1 / 30, abs=0.01)
    assert sizes[14] / ones == pytest.approx(0.5, abs=0.06)


# --- the files ---


def test_each_sum_occurs_equally_often_in_both_parts(tmp_path):
    out = tmp_path / "out"
    ultramnist.write_sample(out, 5 * 28, 64, seed=0)
    for table, each in (("train.csv", 4), ("valid.csv", 1)):
        sums = Counter(int(row["digit_sum"]) for row in rows_of(out / table))
        assert sums == dict.fromkeys(range(28), each)
    image = Image.open(next((out / "val").iterdir()))
    assert (image.size, image.mode) == ((64, 64), "L")


def test_the_same_arguments_give_the_same_bytes_however_many_processes(tmp_path):
    one, other, third = tmp_path / "one", tmp_path / "other", tmp_path / "third"
    ultramnist.write_sample(one, 40, 64, seed=3)
    ultramnist.write_sample(other, 40, 64, seed=3, jobs=2)
    ultramnist.write_sample(third, 40, 64, seed=4)
    assert bytes_of(one) == bytes_of(other)
    assert bytes_of(one) != bytes_of(third)


def test_a_larger_number_keeps_the_first_images(tmp_path):
    ultramnist.write_sample(tmp_path / "few", 8, 64, seed=0)
    ultramnist.write_sample(tmp_path / "more", 12, 64, seed=0)
    few, more = bytes_of(tmp_path / "few"), bytes_of(tmp_path / "more")
    assert all(more[name] == few[name] for name in few if name.endswith("jpeg"))


def test_digits_come_from_mnist_where_its_files_are_given(tmp_path, mnist_dir):
    out = tmp_path / "out"
    status = main(
        [
            *("sample-data", "ultramnist", str(out), "--num-images", "10", "--image-size", "64"),
            *("--mnist-dir", str(mnist_dir), "--num-classes", "10", "--jobs", "1"),
        ]
    )
    assert status == 0
    assert {int(row["digit_sum"]) for row in rows_of(out / "train.csv")} == set(range(8))
    pixels = np.asarray(Image.open(out / "train" / "000000.jpeg"))
    assert 80 < pixels.max() < 130  # the ink of 100, through JPEG; other scans have up to 255


def test_digits_of_8_px_are_said_loudly(tmp_path, capsys):
    main(["sample-data", "ultramnist", str(tmp_path / "out"), "--num-images", "3"])
    assert "NOT of MNIST" in capsys.readouterr().out


def test_parts_share_no_scan():
    train, val = (scanned_digits(part) for part in ("train", "val"))
    assert len(train.labels) + len(val.labels) == 1797
    assert set(train.labels) == set(val.labels) == set(range(10))
    seen = {image.tobytes() for image in train.images}
    assert sum(image.tobytes() in seen for image in val.images) <= 1


def test_the_real_files_are_read():
    digits = read_mnist(real("mnist"), "val")
    assert digits.images.shape == (10_000, 28, 28)
    assert digits.labels[:4].tolist() == [7, 2, 1, 0]


# --- bad input ---


def test_a_missing_file_is_named(tmp_path, mnist_dir):
    (mnist_dir / "train-labels-idx1-ubyte").unlink()
    message = refusal(
        lambda: ultramnist.write_sample(tmp_path / "out", 3, 64, 0, mnist_dir=mnist_dir)
    )
    assert "train-labels-idx1-ubyte" in message and "four files" in message
    assert not (tmp_path / "out").exists()


def test_a_wrong_magic_number_is_named(tmp_path, mnist_dir):
    path = mnist_dir / "train-images-idx3-ubyte"
    path.write_bytes((2049).to_bytes(4, "big") + path.read_bytes()[4:])
    message = refusal(
        lambda: ultramnist.write_sample(tmp_path / "out", 3, 64, 0, mnist_dir=mnist_dir)
    )
    assert "2049" in message and "2051" in message and str(path) in message


@pytest.mark.parametrize("cut", [0, 3, 10, 500])
def test_truncated_files_are_refused(tmp_path, mnist_dir, cut):
    path = mnist_dir / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:cut])
    assert str(path) in refusal(lambda: read_mnist(mnist_dir, "train"))
    path = mnist_dir / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[: cut // 4])
    assert str(path) in refusal(lambda: read_mnist(mnist_dir, "val"))


def test_labels_that_lack_a_digit_are_refused(mnist_dir):
    write_idx(mnist_dir / "train-labels-idx1-ubyte", 2049, np.arange(20) % 9)
    assert "0 to 9 must occur" in refusal(lambda: read_mnist(mnist_dir, "train"))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((3, 63, 0), "too small for 5 digits"),
        ((0, 64, 0), "num_images=0"),
        ((3, 64, -1), "seed=-1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, numbers, said):
    with pytest.raises(ConfigError, match=said):
        ultramnist.write_sample(tmp_path / "out", *numbers)
    with pytest.raises(ConfigError, match="num_classes=29"):
        ultramnist.write_sample(tmp_path / "out", 3, 64, 0, num_classes=29)
    assert not (tmp_path / "out").exists()


def test_its_options_are_refused_for_other_data_sets(tmp_path, capsys):
    status = main(["sample-data", "panda", str(tmp_path / "out"), "--mnist-dir", "."])
    assert status == EXIT_BAD_INPUT
    assert "only for ultramnist" in capsys.readouterr().err
    status = main(["sample-data", "ultramnist", str(tmp_path / "out"), "--jobs", "0"])
    assert status == EXIT_BAD_INPUT


# --- the reader ---


def test_valid_csv_is_the_split_val(tmp_path):
    ultramnist.write_sample(tmp_path / "out", 20, 64, seed=0)
    data = load_dataset(config(tmp_path / "out"))
    assert len(data.train) == 16 and len(data.val) == 4
    assert {example.path.parent.name for example in data.val} == {"val"}
    assert data.class_names == tuple(map(str, range(28)))
    fitted = data.train[3].read(64)
    assert fitted.image.shape == (64, 64, 3)
    row = {row["image_id"]: row["digit_sum"] for row in rows_of(tmp_path / "out" / "train.csv")}
    assert fitted.target == int(row[data.train[3].image_id])


def test_the_layout_of_kaggle_has_ids_and_no_split(tmp_path):
    folder = tmp_path / "out"
    ultramnist.write_sample(folder, 12, 64, seed=0)
    rows = rows_of(folder / "train.csv")
    text = "\n".join(["id,digit_sum", *(f"{r['image_id']},{r['digit_sum']}" for r in rows)])
    (folder / "train.csv").write_text(text + "\n")
    (folder / "valid.csv").unlink()
    listing = data_set("ultramnist").list_images(config(folder), folder)
    assert [example.image_id for example in listing.examples] == [r["image_id"] for r in rows]
    assert not listing.parts


def test_sums_beyond_the_classes_are_refused(tmp_path):
    ultramnist.write_sample(tmp_path / "out", 28, 64, seed=0)
    message = refusal(lambda: load_dataset(config(tmp_path / "out", num_classes=10)))
    assert "digit_sum '10'" in message and "num_classes" in message
    with pytest.raises(ConfigError, match="use 28 or 10"):
        config(tmp_path / "out", num_classes=11)


@pytest.mark.parametrize("value", ["", "-1", "3.5", "x", "28", "28.0"])
def test_sums_that_are_none_are_refused(tmp_path, value):
    folder = tmp_path / "out"
    ultramnist.write_sample(folder, 4, 64, seed=0)
    (folder / "train.csv").write_text(f"image_id,digit_sum\n000000,{value}\n")
    message = refusal(lambda: load_dataset(config(folder)))
    assert f"digit_sum {value!r}" in message and "line 2" in message


def test_an_image_in_both_tables_is_refused(tmp_path):
    folder = tmp_path / "out"
    ultramnist.write_sample(folder, 10, 64, seed=0)
    with (folder / "valid.csv").open("a") as file:
        file.write("000000,3\n")
    with pytest.raises(DataError, match="listed twice"):
        load_dataset(config(folder))
