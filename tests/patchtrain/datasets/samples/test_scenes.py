import numpy as np
import pytest

from patchtrain.datasets.samples.scenes import SCENE_CLASSES, Scene, draw_scene

BUILDING, LAND, ROAD, VEGETATION, WATER, UNLABELED = range(6)


def scene(number: int, width_px: int = 320, height_px: int = 280) -> Scene:
    return draw_scene(np.random.default_rng([11, number]), width_px, height_px)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene(number) for number in range(24)]


def shares(drawn: Scene) -> np.ndarray:
    return np.bincount(drawn.classes.ravel(), minlength=len(SCENE_CLASSES)) / drawn.classes.size


@pytest.mark.parametrize("width_px, height_px", [(64, 51), (51, 64), (300, 301)])
def test_scenes_of_any_size_are_drawn(width_px, height_px):
    drawn = scene(0, width_px, height_px)
    assert drawn.image.shape == (height_px, width_px, 3)
    assert drawn.classes.shape == (height_px, width_px)
    assert drawn.image.dtype == drawn.classes.dtype == np.uint8


def test_drawing_repeats_and_differs_by_seed():
    first, again, other = scene(0, 96, 80), scene(0, 96, 80), scene(1, 96, 80)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.classes, again.classes)
    assert not np.array_equal(first.classes, other.classes)


def test_every_scene_has_the_common_classes(scenes):
    for drawn in scenes:
        share = shares(drawn)
        assert share[LAND] > 0.25
        assert all(0.02 < share[number] < 0.35 for number in (BUILDING, ROAD, VEGETATION))


def test_all_classes_occur_in_sensible_shares(scenes):
    share = np.mean([shares(drawn) for drawn in scenes], axis=0)
    assert 0.4 < share[LAND] < 0.65
    assert all(0.05 < share[number] < 0.2 for number in (BUILDING, ROAD, VEGETATION, WATER))
    assert 0 < share[UNLABELED] < 0.01


def test_some_scenes_are_dry_and_few_have_unlabeled_pieces(scenes):
    assert 0 < sum(shares(drawn)[WATER] == 0 for drawn in scenes) < len(scenes) / 2
    assert 0 < sum(shares(drawn)[UNLABELED] > 0 for drawn in scenes) < len(scenes) * 0.6


def test_colours_of_classes_overlap_between_scenes(scenes):
    grey = [
        [drawn.image[drawn.classes == number].mean() for drawn in scenes if shares(drawn)[number]]
        for number in range(5)
    ]
    for one, other in ((BUILDING, LAND), (BUILDING, ROAD), (VEGETATION, WATER)):
        assert max(min(grey[one]), min(grey[other])) < min(max(grey[one]), max(grey[other]))


def test_classes_differ_in_texture(scenes):
    def roughness(drawn: Scene, number: int) -> float:
        green = drawn.image[..., 1].astype(float)
        pairs = (drawn.classes[:, 1:] == number) & (drawn.classes[:, :-1] == number)
        return float(np.abs(np.diff(green, axis=1))[pairs].mean())

    for drawn in scenes:
        assert roughness(drawn, VEGETATION) > 1.5 * roughness(drawn, LAND)
        if shares(drawn)[WATER] > 0.01:
            assert roughness(drawn, VEGETATION) > 2 * roughness(drawn, WATER)


def test_buildings_stand_apart_from_roads_on_land(scenes):
    for drawn in scenes:
        building, road = drawn.classes == BUILDING, drawn.classes == ROAD
        touching = (building[1:] & road[:-1]).sum() + (building[:-1] & road[1:]).sum()
        assert touching < 0.02 * building.sum()
