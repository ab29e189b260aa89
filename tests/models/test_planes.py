"""The torch twin of core's compositing, against core itself."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multiplane.core.composite import over as core_over
from multiplane.models import planes


def random_planes(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    straight = generator.random((2, 5, 7, 4), dtype=np.float32)
    straight[..., 3] = np.round(straight[..., 3] * 4) / 4  # clear and opaque pixels too
    return straight


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, -3)))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_over_equals_core(seed: int) -> None:
    front, back = random_planes(seed)
    expected = core_over(front, back)
    made = planes.over(planes.premultiply(to_tensor(front)), planes.premultiply(to_tensor(back)))
    straight = planes.unpremultiply(made, floor=1e-6)
    alpha = straight[3].numpy()
    np.testing.assert_allclose(alpha, expected[..., 3], atol=1e-5)
    color = np.moveaxis(straight[:3].numpy(), 0, -1)
    shown = alpha > 1e-3
    np.testing.assert_allclose(color[shown], expected[..., :3][shown], atol=2e-4)


def test_model_range_round_trip_and_clipping() -> None:
    plane = torch.tensor([0.0, 0.25, 1.0])
    assert torch.equal(planes.from_model(planes.to_model(plane)), plane)
    assert planes.from_model(torch.tensor([3.0, -3.0])).tolist() == [1.0, 0.0]


def test_unpremultiply_clears_what_is_nearly_invisible() -> None:
    faint = torch.tensor([0.001, 0.001, 0.001, 0.002]).view(4, 1, 1)
    assert planes.unpremultiply(faint).abs().sum() == 0
