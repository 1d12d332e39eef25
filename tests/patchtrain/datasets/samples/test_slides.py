import dataclasses

import numpy as np
import pytest
from PIL import Image

from patchtrain.datasets.samples.slides import (
    TEXTURE_PERIOD_PX,
    SlidePlan,
    draw_plan,
    render_slide,
    slide_masks,
)

SIZE_PX = 512
TILE_PX = SIZE_PX // 8


def plan(grade: int, number: int) -> SlidePlan:
    return draw_plan(grade, np.random.default_rng([11, number]))


def lesion_crop(slide_plan: SlidePlan, size_px: int, crop_px: int = 64) -> np.ndarray:
    """Return the green channel [crop_px, crop_px] around the lesion's centre."""
    lesion = slide_masks(slide_plan, size_px)[2]
    y, x = (int(places.mean()) - crop_px // 2 for places in np.nonzero(lesion > 0.9))
    return render_slide(slide_plan, size_px)[y : y + crop_px, x : x + crop_px, 1].astype(float)


def spectrum(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return power, frequency (per px) and direction of the waves in a crop."""
    window = np.hanning(len(crop))
    power = np.abs(np.fft.fft2((crop - crop.mean()) * window * window[:, None])) ** 2
    fy, fx = np.meshgrid(*[np.fft.fftfreq(len(crop))] * 2, indexing="ij")
    return power, np.hypot(fy, fx), np.arctan2(fy, fx)


def texture_seen(crop: np.ndarray) -> int:
    """Tell the texture from how the directions of its waves repeat over the half circle."""
    power, frequency, direction = spectrum(crop)
    ring = np.abs(frequency - 1 / TEXTURE_PERIOD_PX) < 0.06
    weight = power[ring] / power[ring].sum()
    repeats = [abs(np.sum(weight * np.exp(1j * fold * direction[ring]))) for fold in (2, 4, 6)]
    return next((number for number, strength in enumerate(repeats) if strength > 0.4), -1)


def location_seen(slide: np.ndarray) -> int:
    """Tell the location from a thumbnail: is the lesion on the band's side of the tissue?"""
    red = np.asarray(Image.fromarray(slide).reduce(len(slide) // 64))[..., 0].astype(float)
    tissue, band = red < 235, red < 150
    inner = red[tissue & ~band]
    lesion = tissue & ~band & (red < (np.percentile(inner, 5) + np.percentile(inner, 90)) / 2)
    centre, band_centre, lesion_centre = (
        np.array([places.mean() for places in np.nonzero(mask)]) for mask in (tissue, band, lesion)
    )
    return 0 if (band_centre - centre) @ (lesion_centre - centre) > 0 else 1


def shuffle_tiles(slide: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grid = slide.reshape(8, TILE_PX, 8, TILE_PX, 3).transpose(0, 2, 1, 3, 4).reshape(64, -1)
    grid = rng.permutation(grid).reshape(8, 8, TILE_PX, TILE_PX, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(slide.shape)


def test_grade_is_twice_the_texture_plus_the_location():
    assert [(plan(g, 0).texture, plan(g, 0).location) for g in range(6)] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1),
    ]  # fmt: skip
    assert [plan(g, 0).grade for g in range(6)] == list(range(6))


def test_nothing_but_texture_and_location_depends_on_the_grade():
    first = dataclasses.asdict(plan(0, 5))
    for grade in range(1, 6):
        other = dataclasses.asdict(plan(grade, 5))
        assert {key for key in first if first[key] != other[key]} <= {"texture", "location"}


def test_rendering_repeats():
    assert np.array_equal(render_slide(plan(3, 0), 96), render_slide(plan(3, 0), 96))


@pytest.mark.parametrize("size_px", [64, 513, 700])
def test_slides_of_any_size_are_drawn(size_px):
    slide = render_slide(plan(1, 1), size_px)
    assert slide.shape == (size_px, size_px, 3)
    assert slide.dtype == np.uint8
    assert np.all(slide[:2] > 235), "no white around the tissue"


def test_textures_are_told_apart_at_full_resolution():
    seen = [texture_seen(lesion_crop(plan(2 * t, n), SIZE_PX)) for n in range(5) for t in range(3)]
    assert seen == [0, 1, 2] * 5


def test_textures_cannot_be_told_apart_after_an_8x_reduction():
    for number in range(4):
        lesion = slide_masks(plan(0, number), SIZE_PX)[2]
        inside = np.asarray(Image.fromarray(lesion).reduce(8)) > 0.99
        reduced = []
        for texture in range(3):
            slide = render_slide(plan(2 * texture, number), SIZE_PX).astype(np.float32)
            reduced.append(slide.reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))[inside])
        noise = np.std(reduced[0], axis=0)
        means, deviations = np.mean(reduced, axis=1), np.std(reduced, axis=1)
        assert np.all(np.ptp(means, axis=0) < 0.1 * noise)
        assert np.all(np.ptp(deviations, axis=0) < 0.1 * noise)


@pytest.mark.parametrize("size_px", [512, 1024])
def test_texture_has_the_same_period_at_every_slide_size(size_px):
    for texture in range(3):
        power, frequency, _ = spectrum(lesion_crop(plan(2 * texture, 2), size_px))
        strongest = frequency.flat[np.argmax(power * (frequency > 0.1))]
        assert abs(1 / strongest - TEXTURE_PERIOD_PX) < 0.6


def test_location_is_seen_in_a_thumbnail_but_not_in_shuffled_tiles():
    rng = np.random.default_rng(0)
    slides = [
        (grade % 2, render_slide(plan(grade, n), SIZE_PX)) for n, grade in enumerate([0, 1] * 20)
    ]
    assert all(location_seen(slide) == location for location, slide in slides)
    shuffled = [location_seen(shuffle_tiles(slide, rng)) == location for location, slide in slides]
    assert 0.25 < np.mean(shuffled) < 0.75


def test_place_on_the_slide_does_not_tell_the_location():
    plans = [plan(number % 2, number) for number in range(2000)]
    angle = np.array([p.turn for p in plans])
    along = np.array([p.lesion_u for p in plans])
    x = np.array([p.centre_x for p in plans]) + along * np.cos(angle) - 0.5
    y = np.array([p.centre_y for p in plans]) + along * np.sin(angle) - 0.5
    location = np.array([p.location for p in plans]) * 2 - 1
    features = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    train, test = slice(0, 1000), slice(1000, 2000)
    weights = np.linalg.lstsq(features[train], location[train], rcond=None)[0]
    correct = np.mean(np.sign(features[test] @ weights) == location[test])
    assert 0.44 < correct < 0.56


def test_no_tile_shows_band_and_lesion_and_several_lie_inside_the_lesion():
    for number in range(60):
        _, band, lesion = slide_masks(plan(number % 6, number), 128)
        band_share, lesion_share = (
            mask.reshape(8, 16, 8, 16).mean(axis=(1, 3)) for mask in (band, lesion)
        )
        assert np.minimum(band_share, lesion_share).max() < 0.05
        assert np.sum(lesion_share > 0.95) >= 2
        assert np.sum(lesion_share > 0.5) >= 5


def test_both_ends_of_the_tissue_look_alike():
    centred = dataclasses.replace(plan(0, 3), centre_x=0.5, centre_y=0.5)
    tissue = slide_masks(centred, 128)[0]
    assert np.abs(tissue - tissue[::-1, ::-1]).max() < 1e-3
