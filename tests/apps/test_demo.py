"""The demo writes files that other programs open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import multiplane
from flat_family import FLAT
from multiplane.apps import demo
from multiplane.core.document import LayerDocument
from multiplane.io.registry import read


def test_the_demo_writes_and_lists_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multiplane.register(FLAT)
    assert demo.main([str(tmp_path / "out"), "--model", "flat", "--foreground", "a cat"]) == 0
    printed = capsys.readouterr().out
    names = ("picture.psd", "picture.ora", "planes", "picture.png", "sheet.png")
    for name in names:
        assert str(tmp_path / "out" / name) in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert "'a cat' before 'a misty valley', seed 5" in printed
    assert "pixel 'a cat' 48 x 32 at 0, 0, normal, opacity 255" in printed
    layers = {layer.name: layer for layer in read(tmp_path / "out" / "picture.psd").leaves()}
    pillow = Image.alpha_composite(
        Image.fromarray(layers["a misty valley"].pixels, "RGBA"),
        Image.fromarray(layers["a cat"].pixels, "RGBA"),
    )
    shown = np.asarray(Image.open(tmp_path / "out" / "picture.png")).astype(int)
    assert np.abs(shown - np.asarray(pillow)).max() <= 1


def test_the_demo_notices_a_layer_that_reads_back_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplane.register(FLAT)

    def forgetful(path: Path) -> LayerDocument:
        found = read(path)
        return LayerDocument(found.size, found.layers[:1])

    monkeypatch.setattr(demo, "read", forgetful)
    with pytest.raises(RuntimeError, match=r"picture\.psd reads back as"):
        demo.main([str(tmp_path / "out"), "--model", "flat"])
