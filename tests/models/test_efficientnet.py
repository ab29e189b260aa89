"""The feature net's port: padding by brute force, size and names against the published facts."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from multiplane.models.efficientnet import (  # noqa: E402
    EfficientNetLite,
    SameConv2d,
    rename_published,
)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (9, 5, 2), (6, 5, 1)])
def test_same_padding_puts_the_odd_pixel_right_and_below(
    size: int, kernel: int, stride: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 2, size, size, generator=generator)
    convolution = SameConv2d(2, 3, kernel, stride, bias=False)
    with torch.no_grad():
        result = convolution(picture)
    out = -(-size // stride)
    assert result.shape == (1, 3, out, out)
    total = max((out - 1) * stride + kernel - size, 0)
    before = total // 2
    # TensorFlow's rule spelled out: sample a canvas padded generously at (y * stride - before)
    wide = functional.pad(picture, (8, 8, 8, 8))
    y, x = out - 1, 0
    top, left = 8 + y * stride - before, 8 + x * stride - before
    window = wide[0, :, top : top + kernel, left : left + kernel]
    with torch.no_grad():
        expected = (convolution.weight * window).sum(dim=(1, 2, 3))
    assert torch.allclose(result[0, :, y, x], expected, atol=1e-5)


def test_size_is_the_published_one() -> None:
    network = EfficientNetLite()
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008  # 4.652 M
    assert network.features(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_published_names_cover_ours_exactly() -> None:
    ours = EfficientNetLite().state_dict()
    back = {
        "stem.conv": "_conv_stem",
        "stem.norm": "_bn0",
        "head.conv": "_conv_head",
        "head.norm": "_bn1",
        "classifier": "_fc",
    }
    inner = {
        "expand.conv": "_expand_conv",
        "expand.norm": "_bn0",
        "depthwise.conv": "_depthwise_conv",
        "depthwise.norm": "_bn1",
        "project.conv": "_project_conv",
        "project.norm": "_bn2",
    }
    published = {}
    for name, tensor in ours.items():
        module, _, leaf = name.rpartition(".")
        if module.startswith("blocks."):
            _, index, part = module.split(".", 2)
            published[f"_blocks.{index}.{inner[part]}.{leaf}"] = tensor
        else:
            published[f"{back[module]}.{leaf}"] = tensor
    renamed = rename_published(published)
    assert set(renamed) == set(ours)
    assert all(renamed[name] is ours[name] for name in ours)
    with pytest.raises(KeyError):
        rename_published({"_squeeze.weight": torch.zeros(1)})
