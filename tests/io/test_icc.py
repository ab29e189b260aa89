"""Colour profiles: our reading of their curves against littlecms, and the two we write."""

from __future__ import annotations

import io as bytes_io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from multiplane.io.icc import LINEAR_PROFILE, SRGB_PROFILE, parse, space_of, to_srgb

RAMP = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 3, 4))
RAMP[:, 1, 1:3] //= 2  # colours, not greys alone
RAMP[:, 2, 0] //= 3


def with_curve(curve: bytes) -> bytes:
    """The linear profile with another tone curve for all three channels, put at its end."""
    profile = bytearray(LINEAR_PROFILE) + curve + bytes(-len(curve) % 4)
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        place = 132 + 12 * index
        if profile[place + 1 : place + 4] == b"TRC":
            struct.pack_into(">II", profile, place + 4, len(LINEAR_PROFILE), len(curve))
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


def para(kind: int, *values: float) -> bytes:
    numbers = [round(65536 * value) for value in values]
    return b"para" + bytes(4) + struct.pack(f">HH{len(numbers)}i", kind, 0, *numbers)


CURVES = {
    "gamma 2.2": b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)),
    "table": b"curv" + bytes(4) + struct.pack(">I5H", 5, 0, 3000, 16000, 40000, 65535),
    "para 0": para(0, 1.8),
    "para 1": para(1, 2.0, 1.1, -0.1),
    "para 2": para(2, 2.0, 0.9, -0.1, 0.1),
    "para 3": para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "para 4": para(4, 2.2, 0.9, 0.05, 0.3, 0.1, 0.05, 0.02),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
def test_deep_pictures_are_converted_as_littlecms_converts_eight_bits(curve: bytes) -> None:
    profile = with_curve(curve)
    source = ImageCms.ImageCmsProfile(bytes_io.BytesIO(profile))
    picture = Image.fromarray(np.ascontiguousarray(RAMP[..., :3]))
    truth = ImageCms.profileToProfile(
        picture, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    assert truth is not None
    deep = to_srgb(RAMP.astype(np.uint16) * 257, profile)
    assert np.abs(deep[..., :3] / 257 - np.asarray(truth)).max() <= 1.6
    np.testing.assert_array_equal(to_srgb(RAMP, profile)[..., :3], np.asarray(truth))


def test_the_profiles_we_write_are_what_they_say() -> None:
    assert space_of(parse(SRGB_PROFILE)) == "srgb"
    assert space_of(parse(LINEAR_PROFILE)) == "linear"
    assert space_of(parse(with_curve(CURVES["para 3"]))) == "srgb"
    assert space_of(parse(with_curve(CURVES["gamma 2.2"]))) == "other"
    for profile in (SRGB_PROFILE, LINEAR_PROFILE):
        opened = ImageCms.ImageCmsProfile(bytes_io.BytesIO(profile))
        assert ImageCms.isIntentSupported(
            opened, ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Direction.INPUT
        )
    shown = ImageCms.profileToProfile(
        Image.fromarray(np.ascontiguousarray(RAMP[..., :3])),
        ImageCms.ImageCmsProfile(bytes_io.BytesIO(SRGB_PROFILE)),
        ImageCms.createProfile("sRGB"),
    )
    assert shown is not None
    assert np.abs(np.asarray(shown).astype(int) - RAMP[..., :3]).max() <= 1


def test_grey_profiles_apply_their_curve() -> None:
    grey = bytearray(with_curve(CURVES["para 0"]))
    grey[16:20] = b"GRAY"
    grey = bytes(grey).replace(b"rTRC", b"kTRC")
    deep = to_srgb(np.full((1, 1, 4), 32768, np.uint16), grey)
    linear = 0.5**1.8
    assert deep[0, 0, 0] / 65535 == pytest.approx(1.055 * linear ** (1 / 2.4) - 0.055, abs=1e-3)
    assert len(set(deep[0, 0, :3].tolist())) == 1


@pytest.mark.parametrize("damage", range(12))
def test_damaged_profiles_never_stop_a_picture(damage: int) -> None:
    rng = np.random.default_rng(damage)
    for curve in CURVES.values():
        profile = bytearray(with_curve(curve))
        for place in rng.integers(0, len(profile), 6):
            profile[place] ^= 1 << int(rng.integers(8))
        picture: Any = np.full((2, 2, 4), 32768, np.uint16)
        assert to_srgb(picture, bytes(profile)).shape == (2, 2, 4)
