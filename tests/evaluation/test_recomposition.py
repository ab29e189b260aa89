"""Planes that add up, planes that do not, and files that lie about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiplane.core.document import Layer, LayerDocument
from multiplane.evaluation.recomposition import check_files, disagreement, stacked
from multiplane.io import planes


def _plane(color: tuple[float, ...], alpha: float) -> np.ndarray:
    return np.broadcast_to(np.float32((*color, alpha)), (4, 4, 4)).copy()


def test_disagreement_by_hand() -> None:
    foreground = _plane((1.0, 0.0, 0.0), 0.25)
    background = _plane((0.0, 0.0, 1.0), 1.0)
    composite = _plane((0.25, 0.0, 0.75), 1.0)
    right = disagreement(composite, foreground, background)
    assert right.max == pytest.approx(0.0, abs=1e-7)
    assert right.psnr == 100.0
    composite[1, 2, 0] += 0.5
    wrong = disagreement(composite, foreground, background)
    assert wrong.max == pytest.approx(0.5, abs=1e-6)
    assert wrong.mean == pytest.approx(0.5 / 48, abs=1e-6)
    assert wrong.psnr == pytest.approx(-10 * np.log10(0.25 / 48), abs=1e-4)


def test_stacking_agrees_with_pillow() -> None:
    random = np.random.default_rng(0)
    layers = [random.integers(0, 256, (16, 16, 4), dtype=np.uint8) for _ in range(3)]
    layers[0][..., 3] = 255
    shown = Image.fromarray(layers[0])
    for layer in layers[1:]:
        shown = Image.alpha_composite(shown, Image.fromarray(layer))
    difference = np.abs(stacked(layers) * 255 - np.asarray(shown)[..., :3])
    assert difference.max() <= 1.5  # Pillow rounds after every layer


def _document() -> LayerDocument:
    random = np.random.default_rng(1)
    bottom = random.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    bottom[..., 3] = 255
    top = random.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    return LayerDocument((8, 8), (Layer("background", bottom), Layer("foreground", top)))


def test_written_planes_pass_and_an_altered_composite_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "planes"
    planes.write(_document(), folder)
    check = check_files(folder)
    assert check.layers == 2
    assert check.error <= 0.51
    altered = np.asarray(Image.open(folder / "composite.png")).copy()
    altered[3, 3, 1] ^= 32
    Image.fromarray(altered).save(folder / "composite.png")
    assert check_files(folder).error == pytest.approx(32, abs=0.51)


def test_a_blend_mode_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    document = _document()
    top = replace(document.layers[1], blend="multiply")
    planes.write(replace(document, layers=(document.layers[0], top)), tmp_path / "planes")
    with pytest.raises(ValueError, match="no plain layer"):
        check_files(tmp_path / "planes")
