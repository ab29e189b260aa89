"""The salient networks: input layout, normalisation, ranges, damaged packages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from multiplane.pipelines.cutout import matte
from multiplane.pipelines.cutout.matte import NETWORKS, SalientMatte, stretch


class _RedSession:
    """Stands for a network: its matte is the first channel of what it was fed."""

    def __init__(self) -> None:
        self.fed: np.ndarray | None = None

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="input")]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="fine"), SimpleNamespace(name="coarse")]

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert names == ["fine"]
        self.fed = feeds["input"]
        return [np.clip(self.fed[:, :1] + 0.5, 0.0, 1.0)]


def isnet_package(folder: Path, damage: bool = False) -> Path:
    dist = folder / "dist"
    dist.mkdir(parents=True)
    chunks = []
    for data in (b"first half, ", b"second half"):
        name = hashlib.sha256(data).hexdigest()
        (dist / name).write_bytes(data[::-1] if damage else data)
        chunks.append({"hash": name})
    listed = {"/models/medium": {"chunks": chunks}, "/models/small": {"chunks": []}}
    (dist / "resources.json").write_text(json.dumps(listed), "utf-8")
    return folder


def test_isnet_joins_its_chunks_and_feeds_what_the_network_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, models = _RedSession(), []

    def opened(model: Any, threads: int) -> _RedSession:
        models.append(model)
        return session

    monkeypatch.setattr(matte, "open_session", opened)
    picture = np.zeros((20, 40, 3), np.float32)
    picture[5:15, 10:30, 0] = 1.0
    picture[..., 2] = 0.5
    found = SalientMatte(NETWORKS["isnet"], isnet_package(tmp_path))(picture)
    assert models == [b"first half, second half"]
    assert session.fed is not None
    assert session.fed.shape == (1, 3, 1024, 1024)
    # (x - 128) / 256 on 0..255: red of the object, green nowhere, blue half
    assert session.fed[0, 0, 512, 512] == pytest.approx((255 - 128) / 256)
    assert session.fed[0, 1].max() == pytest.approx(-0.5)
    assert session.fed[0, 2].mean() == pytest.approx((127.5 - 128) / 256, abs=1e-5)
    assert found.shape == (20, 40)
    assert (found[6:14, 11:29] > 0.95).all()
    assert (found[:4] < 0.05).all()


def test_u2net_normalises_by_the_brightest_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _RedSession()
    monkeypatch.setattr(matte, "open_session", lambda model, threads: session)
    SalientMatte(NETWORKS["u2net"], tmp_path)(np.full((8, 8, 3), 0.25, np.float32))
    assert session.fed is not None
    expected = (1.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert session.fed[0, :, 7, 7] == pytest.approx(expected, rel=1e-4)


def test_the_network_in_the_package_finds_a_ball_on_a_lawn() -> None:
    rows, columns = np.mgrid[:96, :144].astype(np.float32)
    ball = np.hypot(columns - 80, rows - 50) < 24
    picture = np.empty((96, 144, 3), np.float32)
    picture[:] = (0.3, 0.55, 0.25)
    picture += np.random.default_rng(5).normal(0, 0.02, (96, 144, 1)).astype(np.float32)
    shade = 0.9 - 0.006 * np.hypot(columns - 74, rows - 42)
    picture[ball] = (shade[..., None] * np.array([1.0, 0.25, 0.1], np.float32))[ball]
    found = SalientMatte.load("u2netp", threads=1)(np.clip(picture, 0, 1)) > 0.5
    assert (found & ball).sum() / (found | ball).sum() > 0.9


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="damaged"):
        SalientMatte(NETWORKS["isnet"], isnet_package(tmp_path, damage=True))(
            np.zeros((4, 4, 3), np.float32)
        )
    (tmp_path / "u2netp.onnx").write_bytes(b"not these weights")
    with pytest.raises(ValueError, match=r"u2netp\.onnx is damaged"):
        SalientMatte(NETWORKS["u2netp"], tmp_path)(np.zeros((4, 4, 3), np.float32))


def test_a_picture_with_alpha_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"u2net reads \(H, W, 3\)"):
        SalientMatte(NETWORKS["u2net"], tmp_path)(np.zeros((4, 4, 4), np.float32))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there are isnet, u2net, u2netp"):
        SalientMatte.load("u3net")


def test_stretch_widens_a_find_and_leaves_noise_alone() -> None:
    found = np.array([[0.1, 0.5], [0.3, 0.9]], np.float32)
    assert stretch(found) == pytest.approx(np.array([[0, 0.5], [0.25, 1.0]]), abs=1e-6)
    noise = np.array([[0.0, 0.05]], np.float32)
    assert stretch(noise) is noise
