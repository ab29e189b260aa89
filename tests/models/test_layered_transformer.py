"""The denoiser's promises: planes, given tokens, the plane axis, absent planes."""

import pytest
import torch
from torch.nn import functional as F

from multiplane.models.layered_transformer import (
    LayeredTransformer,
    LayeredTransformerConfig,
    PlaneLayout,
    attention,
)
from multiplane.models.rotary import rotary_angles, rotate

CONFIG = LayeredTransformerConfig(
    channels=6, grid=4, width=64, depth=2, head_channels=32, rotary_split=(2, 2, 6, 6)
)


def a_model(seed: int = 0) -> LayeredTransformer:
    torch.manual_seed(seed)
    model = LayeredTransformer(CONFIG)
    for parameter in model.parameters():  # past the zero start, so that every path counts
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def inputs(layout: PlaneLayout, batch: int = 2, seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    planes, frames = len(layout.roles), layout.frames
    return {
        "noisy": torch.randn(batch, planes, frames, 6, 4, 4, generator=g),
        "t": torch.rand(batch, generator=g),
        "text": torch.randn(batch, planes, 16, 384, generator=g),
        "has_text": torch.ones(batch, planes, 16, dtype=torch.bool),
        "given": torch.zeros(batch, planes, frames, 4, 4, dtype=torch.bool),
    }


@pytest.mark.parametrize("frames", [1, 3])
def test_shape_follows_the_planes_and_frames(frames: int) -> None:
    layout = PlaneLayout.of(["foreground", "background", "composite"], frames)
    assert layout.roles == ("background", "foreground", "composite")
    data = inputs(layout)
    assert a_model()(**data, layout=layout).shape == data["noisy"].shape


def test_a_batch_is_its_samples() -> None:
    layout = PlaneLayout.of(["foreground", "background"])
    data, model = inputs(layout, batch=3), a_model()
    whole = model(**data, layout=layout)
    for index in range(3):
        one = {name: value[index : index + 1] for name, value in data.items()}
        torch.testing.assert_close(model(**one, layout=layout)[0], whole[index])


def test_order_of_planes_is_only_a_name() -> None:
    """Two foregrounds swapped with their places, texts and noise come out swapped."""
    layout = PlaneLayout(("foreground", "foreground"), (1.0, 2.0))
    turned = PlaneLayout(("foreground", "foreground"), (2.0, 1.0))
    data, model = inputs(layout), a_model()
    swapped = {name: value if name == "t" else value.flip(1) for name, value in data.items()}
    out, out_swapped = model(**data, layout=layout), model(**swapped, layout=turned)
    torch.testing.assert_close(out, out_swapped.flip(1), atol=1e-4, rtol=1e-4)


def test_the_plane_axis_matters() -> None:
    data, model = inputs(PlaneLayout.of(["foreground", "background"])), a_model()
    near = model(**data, layout=PlaneLayout(("background", "foreground"), (0.0, 1.0)))
    far = model(**data, layout=PlaneLayout(("background", "foreground"), (0.0, 3.0)))
    assert (near - far).abs().max() > 1e-4


def test_prompt_without_text_ignores_what_lies_in_it() -> None:
    layout = PlaneLayout.of(["foreground"])
    data, model = inputs(layout), a_model()
    data["has_text"][:] = False
    other = {**data, "text": torch.full_like(data["text"], 9.0)}
    torch.testing.assert_close(model(**data, layout=layout), model(**other, layout=layout))


def test_given_tokens_do_not_see_the_shared_time() -> None:
    """With everything given, the shared time reaches only the final layer's modulation; per-token
    flags equal a whole-plane flag where they say the same."""
    layout = PlaneLayout.of(["foreground", "background"])
    data, model = inputs(layout), a_model()
    data["given"][:, 0] = True
    plain = model(**data, layout=layout)
    mixed_given = data["given"].clone()
    mixed_given[0, 1, 0, 0, 0] = True  # one token: the per-token path
    mixed = model(**{**data, "given": mixed_given}, layout=layout)
    torch.testing.assert_close(mixed[1], plain[1])  # the other sample says the same either way
    assert (mixed[0] - plain[0]).abs().max() > 1e-5


def test_gradients_reach_every_parameter() -> None:
    layout = PlaneLayout.of(["foreground", "silhouette"])
    model = a_model().train()
    data = inputs(layout)
    data["has_text"][0] = False
    model(**data, layout=layout).square().mean().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_rotation_keeps_length_and_depends_on_difference_only() -> None:
    positions = torch.tensor([[0.0, 0, 0.1, 0.2], [1, 0, 0.5, -0.3]])
    shifted = positions + torch.tensor([2.0, 1.0, 0.4, 0.7])
    q, k = torch.randn(2, 32).unbind(0)
    scores = []
    for place in (positions, shifted):
        angles = rotary_angles(place, (2, 2, 6, 6), 12.0)
        turned_q = rotate(q, angles[0].cos(), angles[0].sin())
        turned_k = rotate(k, angles[1].cos(), angles[1].sin())
        torch.testing.assert_close(turned_q.norm(), q.norm())
        scores.append(turned_q @ turned_k)
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=1e-4)


def test_given_tokens_take_the_clean_time() -> None:
    """Given and wanted tokens at one and the same time are told apart by nothing."""
    layout = PlaneLayout.of(["foreground", "background"])
    data, model = inputs(layout), a_model()
    plain = model(**data, layout=layout)
    data["given"][:, 0] = True
    same = model(**data, layout=layout, clean_time=data["t"])
    torch.testing.assert_close(same, plain)
    assert (model(**data, layout=layout) - plain).abs().max() > 1e-4


def test_frames_apart_lie_where_they_would_lie_in_the_whole_clip() -> None:
    model, device = a_model(), torch.device("cpu")
    cells = 3 * 5
    whole = model._positions(PlaneLayout.of(["foreground"], 5), 3, 5, device)[: 5 * cells]
    apart = model._positions(PlaneLayout.of(["foreground"], 3, stride=2), 3, 5, device)[: 3 * cells]
    assert torch.equal(apart.unflatten(0, (3, cells)), whole.unflatten(0, (5, cells))[::2])


def test_attention_by_plain_products_is_the_fused_one() -> None:
    """Oracle: torch's own, of values and of gradients."""
    g = torch.Generator().manual_seed(0)
    known = [torch.randn(2, 3, 7, 8, generator=g) for _ in range(3)]
    found = []
    for form in (attention, F.scaled_dot_product_attention):
        q, k, v = (each.clone().requires_grad_() for each in known)
        mixed = form(q, k, v)
        found.append((mixed, *torch.autograd.grad(mixed.square().sum(), (q, k, v))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_unknown_roles_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown role foreground:1: roles are background"):
        PlaneLayout.of(["foreground", "foreground:1"])


def test_bad_configs_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of"):
        LayeredTransformerConfig(width=100)
    with pytest.raises(ValueError, match="must sum to"):
        LayeredTransformerConfig(rotary_split=(1, 1, 1, 1))
