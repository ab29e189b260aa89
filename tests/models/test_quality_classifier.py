"""What the frozen network is shown, and the neuron over it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from multiplane.models.efficientnet import EfficientNetLite  # noqa: E402
from multiplane.models.quality_classifier import VIEWS, FrozenFeatures, Neuron  # noqa: E402
from small_quality import LAYERS  # noqa: E402

RNG = np.random.default_rng(0)
IMAGE = RNG.random((20, 30, 3), dtype=np.float32)
MASK = np.zeros((20, 30), np.float32)
MASK[5:15, 8:20] = 1.0
MASK[5] = 0.5


def test_object_and_rest_grey_out_what_the_other_shows() -> None:
    inside, outside = VIEWS["object"](IMAGE, MASK), VIEWS["rest"](IMAGE, MASK)
    np.testing.assert_allclose(inside[MASK == 1], IMAGE[MASK == 1], atol=1e-6)
    np.testing.assert_array_equal(inside[MASK == 0], 0.5)
    np.testing.assert_allclose(inside + outside, IMAGE + 0.5, atol=1e-6)
    assert VIEWS["picture"](IMAGE, MASK) is IMAGE


def test_views_lie_end_to_end_in_their_order() -> None:
    features = FrozenFeatures(EfficientNetLite(LAYERS), 32)
    both = features.of_views(IMAGE, MASK, ("object", "rest"))
    np.testing.assert_allclose(
        both[24:], features([VIEWS["rest"](IMAGE, MASK)])[0], rtol=1e-4, atol=1e-6
    )
    assert both.shape == (48,)
    alone = features.of_views(IMAGE, None, ("picture",))
    np.testing.assert_allclose(alone, features([IMAGE])[0])
    with pytest.raises(ValueError, match="need a mask"):
        features.of_views(IMAGE, None, ("object",))
    with pytest.raises(ValueError, match="its mask"):
        features.of_views(IMAGE, MASK[:5], ("object",))


def test_the_neuron_is_a_logistic_function() -> None:
    weight = np.array([1.0, -2.0], np.float32)
    neuron = Neuron(("picture",), weight, 0.5, 0.7)
    features = np.array([[0, 0], [3, 1], [-1000, 1000]], np.float32)
    expected = [1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-1.5)), 0.0]
    np.testing.assert_allclose(neuron(features), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="views must be"):
        Neuron(("sideways",), weight, 0, 0.5)
    with pytest.raises(ValueError, match="do not fit"):
        Neuron(("picture", "object", "rest"), weight, 0, 0.5)
