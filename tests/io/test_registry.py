"""Formats by suffix, and what is said of files that are not what their name says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from io_documents import layer_of
from multiplane import io
from multiplane.core.document import LayerDocument

ONE = LayerDocument((4, 3), (layer_of(4, 3),))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("out.psd", "psd"),
        ("OUT.PSB", "psd"),
        ("out.ora", "ora"),
        ("out.PNG", "png"),
        ("out", "planes"),
        ("out.v2/", "planes"),
        ("out.planes", "planes"),
        ("out/layers.json", "planes"),
    ],
)
def test_the_suffix_names_the_format(path: str, name: str) -> None:
    table = io.format_of(path)
    assert table is not None
    assert table.name == name
    assert io.check_writable(path) is table


@pytest.mark.parametrize("path", ["a.jpg", "a.webp", "a.TIFF"])
def test_read_only_formats_say_so(path: str) -> None:
    with pytest.raises(io.FileFormatError, match=r"can be read, not written; use one of .*\.psd"):
        io.write(ONE, path)


def test_an_unknown_suffix_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(io.FileFormatError, match=r"\.xcf is not a known format.*\.psd.*\.ora"):
        io.write(ONE, tmp_path / "a.xcf")
    (tmp_path / "a.xcf").write_bytes(b"x")
    with pytest.raises(io.FileFormatError, match=r"not a known format.*\.psd"):
        io.read(tmp_path / "a.xcf")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.xcf"]


def test_a_folder_with_a_dot_in_its_name_is_found(tmp_path: Path) -> None:
    io.write(ONE, f"{tmp_path}/scene.v2/")
    assert io.read(tmp_path / "scene.v2").size == (4, 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.psd does not exist"):
        io.read(tmp_path / "gone.psd")


def test_a_wrong_suffix_is_told_from_the_content(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    for name in ("a.psd", "a.ora"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
        with pytest.raises(io.FileFormatError, match=r"is a PNG file inside.*true suffix"):
            io.read(tmp_path / name)
    (tmp_path / "noname").write_bytes(b"x")
    with pytest.raises(io.FileFormatError, match="no suffix"):
        io.read(tmp_path / "noname")


def test_a_photo_is_a_document_of_one_layer(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4), (250, 0, 0)).save(tmp_path / "cat.jpg", quality=100)
    document = io.read(str(tmp_path / "cat.jpg"))
    (layer,) = document.leaves()
    assert (document.size, layer.name) == ((5, 4), "cat")
    assert np.abs(layer.pixels.astype(int) - [250, 0, 0, 255]).max() <= 3


def test_importing_the_package_loads_no_format(tmp_path: Path) -> None:
    code = "import sys, multiplane.io; print('psd_tools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
