"""Pictures of every kind a caller may have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multiplane.core.document import Layer, LayerDocument
from multiplane.core.request import RequestError
from multiplane.engine.pictures import coverage_of, keep_of_mask, pixels_of

RNG = np.random.default_rng(1)
RGBA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)


def test_rgba_arrays_come_through_unchanged() -> None:
    for array in (RGBA, RGBA.astype(np.uint16) * 257, RGBA.astype(np.float32) / 255):
        found = pixels_of(array)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_rgb_and_grey_become_opaque() -> None:
    found = pixels_of(RGBA[..., :3])
    np.testing.assert_array_equal(found[..., :3], RGBA[..., :3])
    assert (found[..., 3] == 255).all()
    deep = pixels_of(np.full((5, 7, 3), 9, np.uint16))
    assert (deep[..., 3] == 65535).all()
    grey = pixels_of(RGBA[..., 0])
    for channel in range(3):
        np.testing.assert_array_equal(grey[..., channel], RGBA[..., 0])
    assert (pixels_of(np.full((2, 2), 0.5))[..., 3] == 1.0).all()


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "LA", "P", "1", "CMYK"])
def test_pillow_images_are_what_pillow_shows(mode: str) -> None:
    image = Image.fromarray(RGBA, "RGBA").convert("RGB").convert(mode)
    np.testing.assert_array_equal(pixels_of(image), np.asarray(image.convert("RGBA")))


def test_files_layers_and_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGBA, "RGBA").save(path)
    np.testing.assert_array_equal(pixels_of(path), RGBA)
    np.testing.assert_array_equal(pixels_of(Layer("a", RGBA)), RGBA)
    opaque = RGBA.copy()
    opaque[..., 3] = 255
    document = LayerDocument((7, 5), (Layer("a", opaque), Layer("b", opaque, visible=False)))
    np.testing.assert_array_equal(pixels_of(document), opaque)


@pytest.mark.parametrize("suffix", [".psd", ".ora", ""])
def test_layered_files_are_flattened(tmp_path: Path, suffix: str) -> None:
    from multiplane.io.registry import write

    under = np.full((5, 7, 4), 255, np.uint8)
    above = np.zeros((5, 7, 4), np.uint8)
    above[2, 3] = (10, 20, 30, 255)
    path = tmp_path / f"a{suffix}"
    write(LayerDocument((7, 5), (Layer("under", under), Layer("above", above))), path)
    expected = under.copy()
    expected[2, 3] = (10, 20, 30, 255)
    np.testing.assert_array_equal(pixels_of(path), expected)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((2, 2, 5), np.uint8), "got (2, 2, 5)"),
        (np.zeros((2,), np.uint8), "got (2,)"),
        (np.zeros((0, 2, 4), np.uint8), "got (0, 2, 4)"),
        (np.zeros((2, 2, 4), np.int64), "floats in 0..1, got int64"),
        (np.full((2, 2, 4), 255.0), "must lie in 0..1, got 0..255"),
        (np.full((2, 2, 4), -0.5), "must lie in 0..1, got -0.5..0"),
        (np.full((2, 2, 4), np.nan), "must lie in 0..1"),
        ("room.png", "must be a pathlib.Path, a Pillow image"),
        (Image.new("F", (2, 2)), "mode 'F' has no set range"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        pixels_of(picture)


def test_coverage_is_alpha_where_there_is_some_else_brightness() -> None:
    see_through = RGBA.copy()
    see_through[0, 0, 3] = 7
    np.testing.assert_array_equal(coverage_of(see_through), see_through[..., 3])
    opaque = RGBA.copy()
    opaque[..., 3] = 255
    pillow = np.asarray(Image.fromarray(opaque, "RGBA").convert("L")).astype(int)
    assert np.abs(coverage_of(opaque).astype(int) - pillow).max() <= 1
    np.testing.assert_array_equal(coverage_of(RGBA[..., 1]), RGBA[..., 1])
    np.testing.assert_array_equal(coverage_of(np.eye(3) > 0), np.eye(3).astype(np.uint8) * 255)


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_keep_turns_a_mask_round(dtype: Any, full: int) -> None:
    mask = np.array([[0, full]], dtype)
    found = keep_of_mask(mask)
    assert found.dtype == mask.dtype
    assert found.tolist() == [[full, 0]]
