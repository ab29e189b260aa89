"""Settled 8-bit planes taken to the depth of a 16-bit picture."""

from __future__ import annotations

import numpy as np
import pytest

from multiplane.core.deeper import deepen
from multiplane.core.pixels import to_float, to_u8


def scene(dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    alpha = np.repeat(np.linspace(0, 1, 300, dtype=np.float32)[None], 7, axis=0)
    alpha[:, :40], alpha[:, -40:] = 0, 1
    front, back = rng.uniform(0.1, 0.9, (2, 7, 300, 3)).astype(np.float32)
    shown = alpha[..., None] * front + (1 - alpha[..., None]) * back
    scale = 65535 if dtype is np.uint16 else 1
    picture = np.concatenate([shown, np.ones_like(shown[..., :1])], axis=2) * scale
    planes = [
        to_u8(np.concatenate([colour, share[..., None]], axis=2).astype(np.float32))
        for colour, share in ((back, np.ones_like(alpha)), (front, alpha))
    ]
    return planes[0], planes[1], np.round(picture).astype(dtype) if scale > 1 else picture


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_what_is_seen_alone_is_the_deep_picture_and_the_rest_adds_up(dtype: type) -> None:
    background, foreground, picture = scene(dtype)
    picture = picture.astype(dtype)
    back, front = deepen(background, [foreground], picture)
    assert back.dtype == front.dtype == dtype
    np.testing.assert_array_equal(back[:, :40], picture[:, :40])
    np.testing.assert_array_equal(front[:, -40:], picture[:, -40:])
    np.testing.assert_allclose(to_float(front)[..., 3], to_float(foreground)[..., 3], atol=1e-6)
    share = to_float(front)[..., 3:]
    shown = share * to_float(front)[..., :3] + (1 - share) * to_float(back)[..., :3]
    before = to_float(foreground)[..., :3] * share + to_float(background)[..., :3] * (1 - share)
    truth = to_float(picture)[..., :3]
    assert np.abs(shown - truth).max() < 2.5 / 65535
    assert np.abs(before - truth).max() > 100 / 65535
    assert np.abs(to_float(back) - to_float(background))[..., :3].max() < 1.5 / 255


def test_sizes_must_agree() -> None:
    background, foreground, picture = scene(np.uint16)
    with pytest.raises(ValueError, match="the picture"):
        deepen(background, [foreground[:3]], picture)
