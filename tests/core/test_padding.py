import cv2
import numpy as np
import pytest

from multiplane.core.padding import pad_colour, pyramid_sizes
from parity_rule import case

PICTURES = ("soft_37x53", "hard_32x32", "clear_24x24", "opaque_16x20", "corner_48x31")


@pytest.mark.parity
@pytest.mark.parametrize("name", PICTURES)
def test_as_published(name: str) -> None:
    stored = case("pad_rgb_a")
    rgba = stored[f"{name}.rgba"].numpy()
    assert np.abs(pad_colour(rgba) - stored[f"{name}.padded"].numpy()).max() <= 2e-5
    sizes = stored[f"{name}.pyramid_hw"].tolist()
    assert [list(size) for size in reversed(pyramid_sizes(*rgba.shape[:2]))] == sizes


def with_opencv(rgba: np.ndarray) -> np.ndarray:
    """The same procedure on OpenCV's own area and linear resizing."""
    color = rgba[..., :3].astype(np.float32) / 255 * (rgba[..., 3:].astype(np.float32) / 255)
    alpha = rgba[..., 3].astype(np.float32) / 255
    levels = [(color, alpha)]
    while min(alpha.shape) > 1:
        size = (int(alpha.shape[1] / 1.2), int(alpha.shape[0] / 1.2))
        color = cv2.resize(color, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
        levels.append((color, alpha))
    total = levels[-1][0].sum(axis=(0, 1)) / max(levels[-1][1].sum(), 1e-8)
    filled = total.reshape(1, 1, 3)
    for color, alpha in reversed(levels):
        filled = cv2.resize(filled, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
        filled = color + filled.reshape(color.shape) * (1 - alpha[..., None])
    return filled


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (2, 2), (2, 90), (61, 128), (100, 33)])
def test_any_size_equals_opencv(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size)
    rgba = rng.integers(0, 256, (*size, 4), dtype=np.uint8)
    rgba[..., 3] *= rng.random(size) < 0.4
    assert np.abs(pad_colour(rgba) - with_opencv(rgba)).max() <= 2e-5


def test_the_fill_of_one_colour_is_that_colour() -> None:
    rgba = np.zeros((50, 40, 4), np.uint8)
    rgba[10:14, 20:31] = (200, 30, 90, 255)
    expected = np.float32([200, 30, 90]) / 255
    np.testing.assert_allclose(pad_colour(rgba), np.broadcast_to(expected, (50, 40, 3)), atol=1e-5)


def test_any_depth_and_the_pixels_given_stay_as_they_are() -> None:
    u8 = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    floats = u8 / np.float32(255)
    before = floats.copy()
    np.testing.assert_allclose(pad_colour(floats), pad_colour(u8), atol=1e-6)
    np.testing.assert_allclose(pad_colour(u8.astype(np.uint16) * 257), pad_colour(u8), atol=1e-6)
    np.testing.assert_array_equal(floats, before)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(H, W, 4\), got \(4, 4, 3\)"):
        pad_colour(np.zeros((4, 4, 3), np.uint8))
