"""Flat pictures of other programs: formats, orientation, colour profiles, depth, limits."""

from __future__ import annotations

import io as bytes_io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from io_documents import random_array
from multiplane import io
from multiplane.io.icc import LINEAR_PROFILE, SRGB_PROFILE, to_srgb

RNG = np.random.default_rng(11)
RGBA8 = random_array(RNG, (9, 12, 4), np.uint8)
RGBA16 = random_array(RNG, (9, 12, 4), np.uint16)


def save(path: Path, mode: str = "RGBA", **options: Any) -> Path:
    Image.fromarray(RGBA8).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True, "exact": True}),
    ],
)
def test_lossless_formats_are_exact(name: str, options: Any, tmp_path: Path) -> None:
    path = save(tmp_path / name, **options)
    np.testing.assert_array_equal(io.read_pixels(path), RGBA8)
    document = io.read(path)
    np.testing.assert_array_equal(document.leaves()[0].pixels, RGBA8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB"])
def test_palettes_and_grey_become_rgba(mode: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", mode)
    with Image.open(path) as image:
        truth = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(io.read_pixels(path), truth)


@pytest.mark.parametrize("name", ["a.jpg", "a.bmp", "a.gif", "a.avif"])
def test_other_formats_open(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, "RGB")
    with Image.open(path) as image:
        truth = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(io.read_pixels(path), truth)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "z.tif"])
def test_sixteen_bits_stay(channels: int, name: str, tmp_path: Path) -> None:
    values = RGBA16[..., :channels] if channels > 1 else RGBA16[..., 0]
    if name.endswith("png"):
        swapped = values if channels == 1 else values[..., [2, 1, 0, 3][:channels]]
        assert cv2.imwrite(str(tmp_path / name), swapped)
    else:
        extra: Any = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
        packing = "zlib" if name == "z.tif" else None
        photometric = "rgb" if channels > 1 else "minisblack"
        tifffile.imwrite(
            tmp_path / name, values, photometric=photometric, compression=packing, **extra
        )
    truth = np.full((9, 12, 4), 65535, np.uint16)
    truth[..., : max(channels, 3)] = values if channels > 1 else values[..., None]
    pixels = io.read_pixels(tmp_path / name)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, truth)


def test_sixteen_bit_grey_with_alpha(tmp_path: Path) -> None:
    import struct

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGBA16[..., 2:])
    header = struct.pack(">IIBBBBB", 12, 9, 16, 4, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    pixels = io.read_pixels(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, RGBA16[..., [2, 2, 2, 3]])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_pictures_are_turned_upright(orientation: int, name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, "RGB", exif=exif)
    with Image.open(path) as image:
        truth = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))
    np.testing.assert_array_equal(io.read_pixels(path), truth)


def display_p3() -> bytes:
    """Display P3: its primaries adapted to D50, with the curve of our sRGB profile."""
    profile = bytearray(SRGB_PROFILE)
    columns = {  # ICC registry, Display P3
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, start, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in columns:
            values = [round(65536 * v) for v in columns[name]]
            struct.pack_into(">3i", profile, start + 8, *values)
    return bytes(profile)


def test_a_color_profile_becomes_srgb(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", "RGB", icc_profile=display_p3())
    source = ImageCms.ImageCmsProfile(bytes_io.BytesIO(display_p3()))
    with Image.open(path) as image:
        truth = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    assert truth is not None
    pixels = io.read_pixels(path)
    np.testing.assert_array_equal(pixels[..., :3], np.asarray(truth))
    assert np.abs(pixels[..., :3].astype(int) - RGBA8[..., :3]).max() > 8


def test_a_deep_profile_is_converted_as_littlecms_does() -> None:
    eight = random_array(RNG, (32, 32, 4), np.uint8)
    truth = to_srgb(eight, display_p3())
    deep = to_srgb(eight.astype(np.uint16) * 257, display_p3())
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - truth).max() <= 1.01
    np.testing.assert_array_equal(deep[..., 3], eight[..., 3].astype(np.uint16) * 257)


@pytest.mark.parametrize("profile", [SRGB_PROFILE, None], ids=["ours", "littlecms"])
def test_an_srgb_profile_changes_nothing(profile: bytes | None, tmp_path: Path) -> None:
    profile = profile or ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(io.read_pixels(path), RGBA8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_linear_picture_is_encoded(dtype: Any) -> None:
    full = np.iinfo(dtype).max
    half = np.full((1, 1, 4), full // 2, dtype)
    assert to_srgb(half, LINEAR_PROFILE)[0, 0, 0] / full == pytest.approx(0.7353, abs=0.004)


def test_a_broken_profile_is_ignored_and_logged(caplog: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", icc_profile=b"not a profile at all" * 20)
    np.testing.assert_array_equal(io.read_pixels(path), RGBA8)
    assert "colour profile is ignored" in caplog.text


def test_cmyk_and_floats_are_refused_with_advice(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", "CMYK")
    with pytest.raises(io.FileFormatError, match="CMYK picture; convert it to RGB"):
        io.read_pixels(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(io.FileFormatError, match=r"F picture|cannot be read"):
        io.read_pixels(tmp_path / "f.tif")


def test_of_an_animation_the_first_picture_is_read_and_said(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.warns(io.BakedWarning, match="only the first"):
        pixels = io.read_pixels(tmp_path / "a.png")
    assert (pixels == [255, 0, 0, 255]).all()


def test_masks_are_read_from_grey_color_or_alpha(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", "L")
    with Image.open(grey) as image:
        np.testing.assert_array_equal(io.read_coverage(grey), np.asarray(image))
    color = save(tmp_path / "color.png", "RGB")
    luma = np.asarray(Image.fromarray(RGBA8).convert("RGB").convert("L")).astype(int)
    assert np.abs(io.read_coverage(color).astype(int) - luma).max() <= 1
    np.testing.assert_array_equal(io.read_coverage(save(tmp_path / "a.png")), RGBA8[..., 3])


def test_limits_are_checked_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (400, 300)).save(path)
    with pytest.raises(io.FileFormatError, match=r"400 x 300 = 120,000 pixels.*limit of 100,000"):
        io.read_pixels(path, io.Limits(pixels=100_000))
    with pytest.raises(io.FileFormatError, match="limit of 300 a side"):
        io.read_pixels(path, io.Limits(side=300))
    with pytest.raises(io.FileFormatError, match="bytes, more than the limit of 100"):
        io.read_pixels(path, io.Limits(file_bytes=100))
    assert io.read_pixels(path).shape == (300, 400, 4)


def test_larger_pictures_than_pillow_allows_open_when_the_limits_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow itself would refuse above 20
    assert io.read_pixels(tmp_path / "a.png").shape == (9, 12, 4)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.gif"])
def test_a_truncated_picture_is_one_clear_error(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, "RGB")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(io.FileFormatError, match=name):
        io.read_pixels(path)
    path.write_bytes(b"")
    with pytest.raises(io.FileFormatError, match="no picture file"):
        io.read_pixels(path)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        io.read_pixels(tmp_path / "nowhere.png")
