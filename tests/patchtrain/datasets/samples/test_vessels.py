import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from patchtrain.datasets.samples.vessels import Retina, draw_retina


def retina(number: int, size_px: int = 512) -> Retina:
    return draw_retina(np.random.default_rng([11, number]), size_px)


def opened(mask: np.ndarray, side_px: int) -> np.ndarray:
    """Return what is left of a mask where a square of this odd side fits in."""
    return ndimage.binary_opening(mask, np.ones((side_px, side_px)))


def around(picture: np.ndarray, where: np.ndarray, radius_px: int) -> np.ndarray:
    """Return the mean of the px `where` in the neighbourhood of each px."""

    def blurred(values: np.ndarray) -> np.ndarray:
        image = Image.fromarray(values.astype(np.float32))
        small = image.reduce(radius_px).resize(image.size, Image.Resampling.BILINEAR)
        return np.asarray(small)

    return blurred(np.where(where, picture, 0)) / np.maximum(blurred(where), 1e-3)


def contrast(drawn: Retina) -> np.ndarray:
    """Return by how many grey levels each px is darker than the background around it, in green."""
    background = drawn.field_of_view & ~drawn.vessels
    green = drawn.image[..., 1].astype(float)
    return around(green, background, len(green) // 40) - green


@pytest.mark.parametrize("size_px", [64, 257, 512])
def test_photographs_of_any_size_are_drawn(size_px):
    drawn = retina(0, size_px)
    assert drawn.image.shape == (size_px, size_px, 3)
    assert drawn.image.dtype == np.uint8
    for mask in (drawn.vessels, drawn.field_of_view):
        assert mask.shape == (size_px, size_px)
        assert mask.dtype == bool


def test_drawing_repeats_and_differs_by_seed():
    first, again, other = retina(0, 128), retina(0, 128), retina(1, 128)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.vessels, again.vessels)
    assert not np.array_equal(first.vessels, other.vessels)


@pytest.mark.parametrize("size_px", [64, 512, 1024])
def test_vessels_have_their_share_of_the_field_of_view(size_px):
    shares = []
    for number in range(4):
        drawn = retina(number, size_px)
        assert not np.any(drawn.vessels & ~drawn.field_of_view)
        shares.append(drawn.vessels.sum() / drawn.field_of_view.sum())
    assert min(shares) > 0.07
    assert max(shares) < 0.17


def test_the_field_of_view_is_a_bright_disc_on_black():
    for number in range(3):
        drawn = retina(number, 256)
        grey = drawn.image.mean(axis=-1)
        assert 0.64 < drawn.field_of_view.mean() < 0.72
        assert np.percentile(grey[~drawn.field_of_view], 99) < 30
        assert np.percentile(grey[drawn.field_of_view], 1) > 30


@pytest.mark.parametrize("size_px", [512, 1024])
def test_thin_and_thick_vessels_occur_at_every_size(size_px):
    for number in range(3):
        vessels = retina(number, size_px).vessels
        thin = 1 - opened(vessels, 3).sum() / vessels.sum()
        assert 0.15 < thin < 0.65, "vessels under 3 px"
        thick_px = 2 * round(0.008 * size_px / 2) + 1
        assert opened(vessels, thick_px).sum() > 0.05 * vessels.sum()


def test_thin_vessels_are_lost_at_a_quarter_of_the_size():
    vessels = retina(0).vessels
    thin = vessels & ~opened(vessels, 3)
    coverage = np.asarray(Image.fromarray(vessels.astype(np.float32)).reduce(4))
    kept = np.repeat(np.repeat(coverage >= 0.5, 4, axis=0), 4, axis=1)
    assert kept[thin].mean() < 0.5
    assert kept[opened(vessels, 5)].mean() > 0.8


def test_vessels_are_darker_than_their_surroundings_thin_ones_hardly():
    for number in range(3):
        drawn = retina(number)
        darker = contrast(drawn)
        thick = drawn.vessels & opened(drawn.vessels, 5)
        thin = drawn.vessels & ~opened(drawn.vessels, 3)
        noise = darker[drawn.field_of_view & ~drawn.vessels].std()
        assert darker[thick].mean() > 2 * noise
        assert 2 < darker[thin].mean() < 0.6 * darker[thick].mean()
        assert darker[thin].mean() < 2 * noise


def test_grey_level_alone_does_not_tell_vessels():
    drawn = retina(2)
    green = drawn.image[..., 1]
    inside = drawn.field_of_view
    best = max(dice(green < threshold, drawn.vessels, inside) for threshold in range(20, 200, 5))
    assert best < 0.5


def dice(found: np.ndarray, true: np.ndarray, where: np.ndarray) -> float:
    found, true = found[where], true[where]
    return 2 * np.sum(found & true) / (found.sum() + true.sum())


def test_vessels_hang_together():
    for number in range(3):
        vessels = retina(number).vessels
        pieces, _ = ndimage.label(vessels, np.ones((3, 3)))
        assert np.bincount(pieces[vessels]).max() > 0.95 * vessels.sum()
