"""Slides in scanner formats; real ones only."""

from __future__ import annotations

import pytest
from image_data import real
from image_files import assert_close, assert_one_line_error

from patchtrain.images import fit_square, open_image


@pytest.mark.parametrize(
    "name, levels",
    [
        ("cmu-1-small-region.svs", [(2967, 2220)]),
        ("tcga-cr-7395-01a-01-ts1.svs", [(3567, 4443), (1783, 2221)]),
    ],
)
def test_real_slides_read_alike_with_and_without_openslide(name, levels, monkeypatch):
    path = real(f"histology_slides/{name}")
    pytest.importorskip("openslide")
    box = (700, 900, 500, 600)
    with open_image(path) as source:
        assert type(source).__name__ == "_OpenSlideSource"
        assert source.level_sizes == levels
        region, square = source.read(box), fit_square(source, 256)
    assert region.std() > 10
    monkeypatch.setattr("patchtrain.images.slide._openslide", lambda: None)
    with open_image(path) as source:
        assert type(source).__name__ == "_TiffSource"
        assert_close(source.read(box), region, levels=1)
        assert_close(fit_square(source, 256), square, levels=1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_real_slides_cut_short_are_errors(tmp_path, share):
    whole = real("histology_slides/cmu-1-small-region.svs").read_bytes()
    path = tmp_path / "cut.svs"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "cut short" in assert_one_line_error(path)
