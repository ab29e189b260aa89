"""PNG against other decoders, and what travels in its metadata."""

from __future__ import annotations

import io as bytes_io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from io_documents import layer_of, random_array
from multiplane import io
from multiplane.core.document import LayerDocument, Provenance
from multiplane.io.png import CHUNK, encode


def opencv(data: bytes) -> np.ndarray:
    """What OpenCV's own PNG decoder sees, channels in RGB order."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture if picture.ndim == 2 else picture[..., [2, 1, 0, 3]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 4), (7, 5, 4), (33, 64, 4), (9, 4), (1, 300)])
@pytest.mark.parametrize("space", ["srgb", "linear"])
def test_another_decoder_reads_the_same_pixels(dtype: Any, shape: Any, space: Any) -> None:
    pixels = random_array(np.random.default_rng(3), shape, dtype)
    np.testing.assert_array_equal(opencv(encode(pixels, space)), pixels)


def test_smooth_pictures_pack_well_at_sixteen_bits() -> None:
    y, x = np.mgrid[:128, :128].astype(np.uint16)
    ramp = np.stack([x * 300, y * 300, x + y, np.full_like(x, 65535)], axis=2)
    assert len(encode(ramp)) < ramp.nbytes / 20


def test_chunks_are_where_the_specification_wants_them() -> None:
    for dtype in (np.uint8, np.uint16):
        data = encode(random_array(np.random.default_rng(0), (4, 4, 4), dtype), text={"k": "页"})
        names, place = [], 8
        while place < len(data):
            length, name = struct.unpack_from(">I4s", data, place)
            body = data[place + 8 : place + 8 + length]
            (crc,) = struct.unpack_from(">I", data, place + 8 + length)
            assert crc == zlib.crc32(name + body)
            names.append(name)
            place += 12 + length
        assert names[0] == b"IHDR"
        assert names[-1] == b"IEND"
        assert {b"sRGB", b"iTXt"} <= set(names[: names.index(b"IDAT")])


def test_another_program_finds_the_request_in_the_file(tmp_path: Path) -> None:
    origin = Provenance("tiny", "0.1", 42, {"prompt": "a red apple, 苹果"}, {"psnr": 31.5})
    layer = layer_of(4, 3, name="apple", role="foreground")
    io.write(LayerDocument((4, 3), (layer,), provenance=origin), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        facts = json.loads(image.info[CHUNK])
    assert facts["provenance"]["seed"] == 42
    assert facts["provenance"]["version"] == "0.1"
    assert facts["provenance"]["request"] == {"prompt": "a red apple, 苹果"}
    assert facts["layer"] == {"name": "apple", "role": "foreground"}


def test_a_foreign_png_is_a_layer_named_after_its_file(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / "beach.png")
    document = io.read(tmp_path / "beach.png")
    (layer,) = document.leaves()
    assert (layer.name, document.size, document.provenance) == ("beach", (3, 2), None)
    assert (layer.pixels == [1, 2, 3, 255]).all()


@pytest.mark.parametrize("text", ["{", "[1]", '{"provenance": 3}', '{"layer": {"role": "king"}}'])
def test_damaged_metadata_is_said_and_the_picture_kept(text: str, tmp_path: Path) -> None:
    pixels = random_array(np.random.default_rng(0), (4, 4, 4), np.uint8)
    (tmp_path / "a.png").write_bytes(encode(pixels, text={CHUNK: text}))
    with pytest.warns(io.BakedWarning, match="metadata is damaged"):
        document = io.read(tmp_path / "a.png")
    np.testing.assert_array_equal(document.leaves()[0].pixels, pixels)


def test_a_png_of_light_is_shown_right_by_a_color_managed_program() -> None:
    """Half of linear light is 188 of 255 once encoded: littlecms must find that in our profile."""
    from PIL import ImageCms

    half = np.full((2, 2, 4), 128, np.uint8)
    with Image.open(bytes_io.BytesIO(encode(half, "linear"))) as image:
        profile = ImageCms.ImageCmsProfile(bytes_io.BytesIO(image.info["icc_profile"]))
        srgb = ImageCms.createProfile("sRGB")
        shown = ImageCms.profileToProfile(image.convert("RGB"), profile, srgb)
    assert shown is not None
    assert abs(int(np.asarray(shown)[0, 0, 0]) - 188) <= 1
