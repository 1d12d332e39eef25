import numpy as np
import pytest
import torch

from patchtrain.errors import ConfigError
from patchtrain.grid.patches import PatchGrid, tile_corners


@pytest.fixture
def grid() -> PatchGrid:
    return PatchGrid(image_height=6, image_width=8, patch_size=2)


@pytest.fixture
def image() -> np.ndarray:
    return np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def test_grid_counts_rows_and_columns_of_a_non_square_image(grid):
    assert (grid.num_rows, grid.num_cols, grid.num_patches) == (3, 4, 12)


@pytest.mark.parametrize(
    "height, width, named", [(7, 8, "image_height=7"), (6, 9, "image_width=9")]
)
def test_grid_rejects_a_patch_that_does_not_divide(height, width, named):
    with pytest.raises(ConfigError, match=f"patch_size=2 does not divide {named}"):
        PatchGrid(height, width, 2)


def test_grid_rejects_a_patch_of_no_pixels():
    with pytest.raises(ConfigError, match="patch_size=0 must be at least 1"):
        PatchGrid(8, 8, 0)


def test_extract_counts_positions_row_by_row(grid, image):
    patches = grid.extract(image, [0, 5, 11])
    assert np.array_equal(patches[0], image[0:2, 0:2])
    assert np.array_equal(patches[1], image[2:4, 2:4])
    assert np.array_equal(patches[2], image[4:6, 6:8])
    assert patches.dtype == np.uint8


def test_extract_returns_copies(grid, image):
    before = image.copy()
    grid.extract(image, [3])[:] = 0
    assert np.array_equal(image, before)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_extract_takes_any_kind_of_positions(grid, image, kind):
    assert np.array_equal(grid.extract(image, kind([7, 2])), grid.extract(image, [7, 2]))


def test_paste_undoes_extract_in_any_order(grid, image):
    positions = grid.sample(12, torch.Generator().manual_seed(0))
    out = np.zeros_like(image)
    grid.paste(grid.extract(image, positions), positions, out)
    assert np.array_equal(out, image)


def test_paste_writes_through_a_strided_view_and_touches_nothing_else(grid, image):
    canvas = np.zeros((12, 8, 3), np.uint8)
    out = canvas[::2]
    grid.paste(grid.extract(image, [5]), [5], out)
    assert np.array_equal(out[2:4, 2:4], image[2:4, 2:4])
    assert np.count_nonzero(canvas) == np.count_nonzero(image[2:4, 2:4])


@pytest.mark.parametrize("position", [-1, 12])
def test_positions_outside_the_grid_are_an_error(grid, image, position):
    with pytest.raises(ValueError, match=f"position {position} is outside"):
        grid.extract(image, [0, position])


def test_arrays_of_another_size_are_an_error(grid, image):
    with pytest.raises(ValueError, match="is not an image of 6 x 8 px"):
        grid.extract(image[:4], [0])
    with pytest.raises(ValueError, match="patches have shape"):
        grid.paste(grid.extract(image, [0, 1]), [0], image)


def test_sample_draws_distinct_positions_and_repeats_with_its_seed(grid):
    first = grid.sample(5, torch.Generator().manual_seed(3))
    assert torch.equal(first, grid.sample(5, torch.Generator().manual_seed(3)))
    assert first.dtype == torch.int64
    assert len(set(first.tolist())) == 5


def test_sample_draws_every_position_equally_often(grid):
    generator = torch.Generator().manual_seed(0)
    num_draws = 3000
    counts = torch.zeros(12)
    for _ in range(num_draws):
        counts[grid.sample(3, generator)] += 1
    expected = num_draws * 3 / 12
    assert (counts - expected).abs().max() < 5 * expected**0.5


def test_sample_of_all_is_a_permutation(grid):
    drawn = grid.sample(12, torch.Generator().manual_seed(1))
    assert sorted(drawn.tolist()) == list(range(12))


@pytest.mark.parametrize("k", [0, 13])
def test_sample_rejects_impossible_numbers(grid, k):
    with pytest.raises(ValueError, match=f"k={k}"):
        grid.sample(k, torch.Generator())


def test_tiles_without_overlap_are_the_grid():
    corners = tile_corners(256, 64, 0.0)
    assert corners.tolist() == [[64 * row, 64 * col] for row in range(4) for col in range(4)]


@pytest.mark.parametrize(
    ("image", "patch", "overlap"), [(256, 64, 0.2), (300, 100, 0.5), (64, 64, 0.2)]
)
def test_tiles_cover_the_image_and_overlap(image, patch, overlap):
    corners = tile_corners(image, patch, overlap)
    covered = np.zeros((image, image), int)
    for top, left in corners:
        assert 0 <= top <= image - patch and 0 <= left <= image - patch
        covered[top : top + patch, left : left + patch] += 1
    assert covered.min() >= 1
    lines = np.unique(corners[:, 0])
    assert (np.diff(lines) <= round(patch * (1 - overlap))).all()
    assert len(corners) == len(np.unique(corners, axis=0))
