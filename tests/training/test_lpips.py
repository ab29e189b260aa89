"""LPIPS against a plain numpy form of the paper's equation 1, and the pickle that may hold only
arrays."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from multiplane.training.lpips import LPIPS, read_arrays, rename_published


def a_package(net: str, folder: Path) -> Path:
    """A file as the package holds it, of random numbers."""
    rng = np.random.default_rng(0)
    if net == "alex":
        shapes = [(11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256)]
        widths, top, name = (64, 192, 384, 256, 256), "AlexNet_0", "alexnet"
    else:
        channels = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
        shapes = [(3, a, b) for a, b in pairwise(channels)]
        widths, top, name = (64, 128, 256, 512, 512), "VGG16_0", "vgg16"
    tables = {
        f"Conv_{i}": {
            "kernel": (rng.standard_normal((k, k, a, b)) / np.sqrt(k * k * a)).astype(np.float32),
            "bias": rng.standard_normal(b).astype(np.float32) * 0.1,
        }
        for i, (k, a, b) in enumerate(shapes)
    }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": rng.random((1, 1, width, 1), np.float32)}}
        for i, width in enumerate(widths)
    }
    path = folder / "weights" / f"{name}.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({top: tables, **heads}, protocol=3))
    return path


def plain_convolution(picture: np.ndarray, table: dict, stride: int, padding: int) -> np.ndarray:
    """(C, H, W) -> (C', h, w) by scipy, rectified."""
    padded = np.pad(picture, ((0, 0), (padding, padding), (padding, padding)))
    kernel = table["kernel"].transpose(3, 2, 0, 1)
    maps = [
        sum(correlate(plane, part, mode="valid") for plane, part in zip(padded, one, strict=True))
        for one in kernel
    ]
    return np.maximum(np.stack(maps)[:, ::stride, ::stride] + table["bias"][:, None, None], 0)


def test_the_first_layer_is_the_papers_equation(tmp_path: Path) -> None:
    """With all other heads at zero the distance is that of the first features."""
    tables = read_arrays(a_package("alex", tmp_path))
    for index in range(1, 5):
        tables[f"NetLinLayer_{index}"]["Conv_0"]["kernel"][:] = 0
    model = LPIPS("alex")
    model.load_state_dict(rename_published(tables), strict=False)
    a, b = torch.rand(2, 1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    features = []
    for picture in (a, b):
        seen = (picture[0].double().numpy() - shift[:, None, None]) / scale[:, None, None]
        found = plain_convolution(seen, tables["AlexNet_0"]["Conv_0"], 4, 2)
        features.append(found / np.linalg.norm(found, axis=0))
    head = tables["NetLinLayer_0"]["Conv_0"]["kernel"].reshape(-1)
    wanted = (head[:, None, None] * (features[0] - features[1]) ** 2).sum(axis=0).mean()
    np.testing.assert_allclose(float(model(a, b)[0]), wanted, rtol=1e-4)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_weights_fit_and_distances_behave(net: str, tmp_path: Path) -> None:
    a_package(net, tmp_path)
    model = LPIPS.from_package(net, tmp_path)  # pyright: ignore[reportArgumentType]
    a = torch.rand(2, 3, 32, 32) * 2 - 1
    b = a.clone()
    b[1] = -b[1]
    b.requires_grad_()
    found = model(a, b)
    assert found[0].item() == pytest.approx(0, abs=1e-6)
    assert found[1].item() > 0.01
    torch.testing.assert_close(model(b, a), found)
    found.sum().backward()
    assert b.grad is not None
    assert float(b.grad[1].abs().sum()) > 0
    assert not any(p.requires_grad for p in model.parameters())


def test_a_pickle_of_anything_but_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.ckpt"
    path.write_bytes(pickle.dumps({"a": Path("x")}))
    with pytest.raises(ValueError, match="no file of arrays needs"):
        read_arrays(path)
    with pytest.raises(FileNotFoundError, match=r"alexnet\.ckpt"):
        LPIPS.from_package("alex", tmp_path)
