"""Few dry runs give all members of a family exactly, or are not used.

Longer than 400 lines because one family of configurations serves all of them.
"""

from __future__ import annotations

import dataclasses
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NUM_CLASSES, tiny, tiny_boxes, tiny_masks

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.estimation import closed_form
from patchtrain.estimation.allocator import AllocatorPeak, simulate
from patchtrain.estimation.closed_form import Member, _fit, member_of, trace_of
from patchtrain.estimation.dry_run import dry_run
from patchtrain.memory.meter import BLOCK_BYTES, CATEGORIES
from patchtrain.memory.trace import Trace, TracePeak
from patchtrain.tasks.detection import reader as detection
from patchtrain.tasks.segmentation import reader as segmentation

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

# 64 patches: up to k = 20 it takes at least three chunks to fill Z, whatever the method
BASE = tiny(
    method="patchgd",
    norm="frozen",
    aggregator="attention",
    image_size=256,
    inner_iterations=1,
)


# any configuration will do for tests of files and folders
CHEAP = tiny(method="downsampled", norm="frozen")


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(closed_form, "_families", {})


def member(k: int, chunk: int | str = "none", base: TrialConfig = BASE) -> TrialConfig:
    """Return `base` with k sampled patches and the chunk."""
    return dataclasses.replace(base, sampling_rate=k / base.num_patches, patch_microbatch=chunk)


def ask(config: TrialConfig, target: torch.device = CPU) -> tuple[Trace, str]:
    return trace_of(config, NUM_CLASSES, target)


def source(config: TrialConfig, target: torch.device = CPU) -> str:
    return ask(config, target)[1]


def held(trace: Trace) -> tuple[TracePeak, AllocatorPeak]:
    """Return peak, phase and attribution, and what the allocator holds."""
    return trace.peak(BLOCK_BYTES, len(CATEGORIES)), simulate(*trace.requests())


def forget() -> None:
    """Forget what this process knows, as in a new one; only the disk remembers."""
    closed_form._families.clear()


def cache_files() -> list[Path]:
    return sorted(closed_form.cache_dir().rglob("*.npz"))


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({"method": "local_global", "norm": "batch", "fusion": "concat"}, CPU),
        ({"precision": "bf16"}, CUDA),
    ],
)
def test_two_sampling_rates_give_all_others(settings, target):
    base = dataclasses.replace(BASE, **settings)
    assert source(member(3, base=base), target) == "dry run"
    assert source(member(5, base=base), target) == "dry run"
    for k in (4, 20):
        trace, how = ask(member(k, base=base), target)
        assert how == "closed form"
    assert held(trace) == held(dry_run(member(20, base=base), NUM_CLASSES, target))
    assert source(member(3, base=base), target) == "cache"


def test_four_pairs_of_sampling_rate_and_chunk_give_all_others():
    base = dataclasses.replace(BASE, norm="group")
    for k, chunk in ((9, 2), (9, 3), (12, 2), (12, 4)):
        assert source(member(k, chunk, base)) == "dry run"
    trace, how = ask(member(11, 3, base))
    assert how == "closed form"
    assert held(trace) == held(dry_run(member(11, 3, base), NUM_CLASSES, CPU))


def test_whatever_is_asked_in_whatever_order_is_exact():
    draw = random.Random(1)
    asked = [
        *(member(k) for k in draw.sample(range(2, 20), 3)),
        *(member(k, draw.randint(2, k)) for k in draw.sample(range(6, 20), 5)),
    ]
    draw.shuffle(asked)
    sources = []
    for config in asked:
        trace, how = ask(config)
        sources.append(how)
        if how == "closed form":
            assert held(trace) == held(dry_run(config, NUM_CLASSES, CPU))
    assert set(sources) == {"dry run", "closed form"}


@pytest.mark.parametrize(("cells_at_once", "num_closed_form"), [(2, 3), (64, 0)])
def test_numbers_of_patches_of_segmentation_are_exact(cells_at_once, num_closed_form, monkeypatch):
    monkeypatch.setattr(segmentation, "PIECE_PX", cells_at_once * 32**2)
    base = tiny_masks(image_size=256, num_classes=2, norm="frozen", inner_iterations=1)
    sources = []
    for k in (7, 15, 5, 20, 9):
        config = member(k, base=base)
        trace, how = trace_of(config, 2, CPU)
        sources.append(how)
        if how == "closed form":
            assert held(trace) == held(dry_run(config, 2, CPU))
    assert sources.count("closed form") == num_closed_form


# `stack` copies what was not sampled too, so sizes fall as k grows, which two points do not tell
@pytest.mark.parametrize(("layout", "is_closed"), [("tile", True), ("stack", False)])
def test_numbers_of_patches_of_detection_are_exact(layout, is_closed, monkeypatch):
    monkeypatch.setattr(detection, "PIECE_PX", 2 * 64**2)
    base = tiny_boxes(image_size=320, layout=layout, norm="frozen", inner_iterations=1)
    sources = []
    for k in (7, 15, 5, 9):
        config = dataclasses.replace(base, sampling_rate=k / 25)
        assert config.num_sampled == k
        trace, how = trace_of(config, NUM_CLASSES, CPU)
        sources.append(how)
        if how == "closed form":
            assert held(trace) == held(dry_run(config, NUM_CLASSES, CPU))
    assert ("closed form" in sources) == is_closed


def points(*pairs: tuple[int | tuple[int, ...], list[int]]) -> dict[tuple[int, ...], np.ndarray]:
    return {
        place if isinstance(place, tuple) else (place,): np.array(sizes, dtype=np.int64)
        for place, sizes in pairs
    }


def test_a_line_through_two_points_is_exact_for_large_sizes():
    sizes_at = _fit(points((3, [7, 2**45 + 9]), (10, [7, 2**45 + 30])))
    assert sizes_at is not None
    assert sizes_at((1000,)).tolist() == [7, 2**45 + 3000]


def test_a_plane_through_four_points_is_exact():
    known = [((k, c), [100, 4 * k, 12 * c + 8, 5 * k + 7 * c]) for k, c in
             ((1, 1), (5, 1), (1, 4), (7, 9))]  # fmt: skip
    sizes_at = _fit(points(*known))
    assert sizes_at is not None
    assert sizes_at((11, 3)).tolist() == [100, 44, 44, 76]


@pytest.mark.parametrize(
    "known",
    [
        pytest.param([], id="nothing"),
        pytest.param([((), [5])], id="no variable"),
        pytest.param([(3, [5])], id="one point"),
        pytest.param([(1, [1]), (2, [4])], id="a square at two points"),
        pytest.param([(2, [2]), (3, [6])], id="k (k - 1) at two points"),
        pytest.param([(1, [11]), (2, [14]), (3, [19])], id="a square at three points"),
        pytest.param([(1, [5, 10]), (2, [5, 11]), (3, [5, 13])], id="one block of several"),
        pytest.param([(1, [10]), (3, [11])], id="half a byte a step"),
        pytest.param([((1, 1), [1]), ((2, 1), [2]), ((1, 2), [2])], id="a plane not tried"),
        pytest.param(
            [((1, 1), [1]), ((2, 2), [2]), ((3, 3), [3]), ((4, 4), [4])], id="points in a line"
        ),
        pytest.param(
            [((k, c), [k * c]) for k, c in ((1, 1), (2, 1), (1, 2), (2, 2))], id="a product"
        ),
    ],
)
def test_what_does_not_determine_a_function_of_whole_bytes_is_not_used(known):
    assert _fit(points(*known)) is None


def test_no_size_is_negative():
    sizes_at = _fit(
        points(*(((k, c), [20 - 5 * k + c]) for k, c in ((1, 1), (2, 1), (1, 2), (3, 3))))
    )
    assert sizes_at is not None
    assert sizes_at((4, 0)).tolist() == [0]
    assert sizes_at((5, 4)) is None


def test_a_member_that_is_not_on_the_line_ends_its_use():
    config = member(3)
    ask(config)
    family = closed_form._families[place(config).family, ()]
    trace, _ = ask(member(5))
    assert family.get((7,)) is not None
    family.add((6,), trace.with_sizes(trace.num_bytes + 1))
    assert family.get((7,)) is None
    assert family.get((5,)) is not None


def test_another_order_of_events_starts_the_family_anew():
    config = member(3)
    trace, _ = ask(config)
    family = closed_form._families[place(config).family, ()]
    other = dataclasses.replace(trace, kind=trace.kind[::-1].copy())
    family.add((5,), other)
    assert family.get((3,)) is None
    assert family.get((5,)) is not None


def test_what_was_run_is_remembered_by_the_next_process():
    first, how = ask(member(3))
    assert how == "dry run"
    forget()
    again, how = ask(member(3))
    assert how == "cache"
    assert again.same_events(first)
    assert again.phases == first.phases
    assert np.array_equal(again.num_bytes, first.num_bytes)
    assert source(member(5)) == "dry run"
    forget()
    assert source(member(7)) == "closed form"


def test_processes_at_the_same_time_share_what_they_ran(monkeypatch):
    one: dict = {}
    other: dict = {}
    monkeypatch.setattr(closed_form, "_families", one)
    ask(member(3, 1))
    monkeypatch.setattr(closed_form, "_families", other)
    assert source(member(5, 1)) == "dry run"
    monkeypatch.setattr(closed_form, "_families", one)
    assert source(member(8, 1)) == "dry run"
    assert source(member(5, 1)) == "cache"


def broken(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "text":
        path.write_text("kind: 0\n")
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"kind": [0]}))
    elif how == "pickled_arrays":
        np.savez(path, kind=np.array([object()], dtype=object))
    elif how == "lacks_arrays":
        np.savez(path, kind=np.zeros(3))
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    "how", ["empty", "truncated", "text", "pickle", "pickled_arrays", "lacks_arrays"]
)
def test_a_damaged_cache_is_made_again(how):
    ask(CHEAP)
    (path,) = cache_files()
    before = path.read_bytes()
    broken(path, how)
    forget()
    assert source(CHEAP) == "dry run"
    assert path.read_bytes() == before
    forget()
    assert source(CHEAP) == "cache"


def test_a_changed_byte_never_gives_other_sizes():
    trace, _ = ask(CHEAP)
    (path,) = cache_files()
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = closed_form._Family.load(path.stem).get(())
        if found is None:
            refused += 1
        else:
            assert found[0].same_events(trace)
            assert np.array_equal(found[0].num_bytes, trace.num_bytes)
    assert refused > 25


def test_a_pickle_in_the_cache_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    ask(CHEAP)
    (path,) = cache_files()
    np.savez(path, kind=np.array([Trap()], dtype=object))
    forget()
    assert source(CHEAP) == "dry run"
    assert not (tmp_path / "ran").exists()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path / "file" / "cache"))
    assert source(CHEAP) == "dry run"
    assert source(CHEAP) == "cache"
    forget()
    assert source(CHEAP) == "dry run"


def test_a_file_that_cannot_be_replaced_is_no_error():
    ask(CHEAP)
    (path,) = cache_files()
    broken(path, "folder")
    forget()
    assert source(CHEAP) == "dry run"
    assert source(CHEAP) == "cache"


def test_nothing_is_remembered_of_networks_that_cannot_be_built():
    with pytest.raises(ConfigError, match="no_such_network"):
        ask(dataclasses.replace(BASE, backbone="no_such_network"))
    assert cache_files() == []


def place(
    config: TrialConfig, num_classes: int = 3, target: torch.device = CPU, num_validated: int = 2
) -> Member:
    return member_of(config, num_classes, target, num_validated)


@pytest.mark.parametrize("changed", ["torch", "patchtrain"])
def test_another_torch_or_other_code_is_another_family(changed, monkeypatch):
    ask(CHEAP)
    versions = closed_form._versions()
    assert {"torch", "timm", "patchtrain"} < set(versions)
    monkeypatch.setattr(closed_form, "_versions", lambda: versions | {changed: "other"})
    assert source(CHEAP) == "dry run"
    assert len(cache_files()) == 2


OF_NO_INFLUENCE = {
    "data_dir": "elsewhere", "split_file": "split.csv", "split_seed": 1, "val_fraction": 0.3,
    "test_fraction": 0.3, "skip_bad_images": True, "sample_num_images": 7, "sample_seed": 1,
    "drop_duplicates": True, "value_range": "0:9",
    "weights": "pretrained", "epochs": 9, "learning_rate": 0.5, "weight_decay": 0.5,
    "budget": 10**9, "device": "cuda", "num_workers": 3, "seed": 4, "inner_iterations": 5,
    "augment": "flip", "max_detections": 7, "area_ranges": "soda", "mosaic_seed": 1,
}  # fmt: skip
OF_INFLUENCE = {
    "image_size": 512, "method": "local_global", "patch_size": 64, "fusion": "add",
    "backbone": "test_convnext", "aggregator": "same", "norm": "group", "drop_rate": 0.5,
    "batch_size": 3, "accumulation_steps": 2, "precision": "bf16", "channels_last": False,
    "optimizer_kernel": "foreach", "encoder": "resnet18", "latent_channels": 4,
    "layout": "stack", "fusion_scale": 0.0, "global_pass": "joint",
}  # fmt: skip
VARIABLES = {"sampling_rate": 0.5, "patch_microbatch": 3}
ONE_CHOICE = {"task", "dataset", "head", "tile_overlap"}  # of classification
CLASSES = {"foreground", "num_classes"}
"""They decide how many classes there are, which `member_of` is told."""


def test_every_setting_is_known_to_count_or_not():
    names = {field.name for field in dataclasses.fields(TrialConfig)}
    assert names == {*OF_NO_INFLUENCE, *OF_INFLUENCE, *VARIABLES, *ONE_CHOICE, *CLASSES}


@pytest.mark.parametrize("name", OF_NO_INFLUENCE)
def test_what_does_not_count_changes_nothing(name):
    assert place(dataclasses.replace(BASE, **{name: OF_NO_INFLUENCE[name]})) == place(BASE)


@pytest.mark.parametrize("name", OF_INFLUENCE)
def test_what_counts_is_another_family(name):
    other = place(dataclasses.replace(BASE, **{name: OF_INFLUENCE[name]}))
    assert other.family != place(BASE).family


def test_classes_validation_and_device_are_another_family_and_its_number_is_not():
    others = [place(BASE, 4), place(BASE, target=CUDA), place(BASE, num_validated=1)]
    assert len({place(BASE).family, *(other.family for other in others)}) == 4
    assert place(BASE, target=torch.device("cuda:1")) == place(BASE, target=CUDA)


def test_the_variables_are_sampled_patches_and_the_chunk():
    assert place(member(4)).variables == (4,)
    assert place(member(4, 1000)) == place(member(4))
    assert place(member(4, 3)).variables == (4, 3)
    assert place(member(4)).family != place(member(4, 3)).family
    for method in ("full", "downsampled"):
        base = dataclasses.replace(BASE, method=method)
        assert place(base).variables == ()
        assert place(dataclasses.replace(base, patch_microbatch=1)).variables == (1,)
