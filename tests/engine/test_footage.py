"""Footage into layers: they add up to every frame, the plate is what was behind, a killed run goes
on with the same bytes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from footage_scene import Shot, ground, red, run_and_die, shot
from multiplane.core.clip import LayerClip
from multiplane.core.composite import composite_u8
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.pixels import to_float, to_u8
from multiplane.core.request import RequestError
from multiplane.engine.footage import Footage, NoSubject, decompose_footage
from multiplane.engine.footage_store import Workplace
from multiplane.io.clips import read_clip, write_clip
from multiplane.pipelines.cutout.footage.looks import Looks
from multiplane.pipelines.cutout.footage.settings import FootageSettings

Picture = np.ndarray


class Network:
    """`red`, counting how often it is asked."""

    def __init__(self, blind: tuple[int, ...] = ()) -> None:
        self.asked, self._blind = 0, blind

    def __call__(self, picture: Picture) -> Picture:
        self.asked += 1
        return red(picture) * (self.asked - 1 not in self._blind)


def apart(source: Path, output: Path, network: Any = red, **asked: Any) -> Footage:
    asked = {"complete": "diffuse", **asked}
    names = FootageSettings.__dataclass_fields__
    settings = FootageSettings(**{name: asked[name] for name in asked if name in names})
    looks = Looks(settings, lambda name, threads: network)
    return decompose_footage(source, output, looks=looks, **asked)


def planes(footage: Footage) -> tuple[Picture, Picture]:
    """(backgrounds, foregrounds), (F, H, W, 4)."""
    pairs = [[layer.pixels for layer in document.leaves()] for document in footage.clip]
    return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])


def off_where_hidden(scene: Shot, backgrounds: Picture) -> float:
    """Mean error of the plate where the ball hides it."""
    off = np.abs(to_float(backgrounds)[..., :3] - scene.plate)
    return float(off[scene.alpha > 0.02].mean())


def test_a_still_camera(tmp_path: Path) -> None:
    scene = shot(7)
    source = scene.written(tmp_path / "shot.mkv")
    made = apart(source, tmp_path / "layers")
    assert made.clip.names == ("Background", "Red subject")
    assert (made.clip.frames, made.clip.fps) == (7, 12)
    assert made.error.maximum <= 1.02 / 255
    assert made.report["gathered"] > 0.95
    assert made.report["plates"] == 1
    backgrounds, foregrounds = planes(made)
    for document, frame in zip(made.clip, scene.frames, strict=True):
        assert np.abs(composite_u8(document).astype(int) - frame).max() <= 1
    clear = foregrounds[..., 3] == 0
    np.testing.assert_array_equal(backgrounds[clear], scene.frames[clear])
    assert off_where_hidden(scene, backgrounds) < 0.02
    assert np.abs(to_float(foregrounds[..., 3]) - scene.alpha).mean() < 0.01
    provenance = read_clip(tmp_path / "layers").provenance
    assert provenance is not None
    assert provenance.report["frames"] == 7
    assert sorted(each.name for each in tmp_path.iterdir()) == ["layers", "shot.mkv"]


def test_a_camera_that_pans(tmp_path: Path) -> None:
    scene = shot(8, pan=4, step=2.0)
    made = apart(scene.written(tmp_path / "shot.mkv"), tmp_path / "layers")
    backgrounds, _ = planes(made)
    hidden = scene.alpha > 0.02
    without = np.abs(to_float(scene.frames)[..., :3] - scene.plate)[hidden].mean()
    assert off_where_hidden(scene, backgrounds) < 0.2 * without
    assert made.error.maximum <= 1.02 / 255


def test_a_killed_run_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    source = shot(4, (64, 48)).written(tmp_path / "shot.mkv")
    whole = apart(source, tmp_path / "whole")
    context = multiprocessing.get_context("spawn")
    killed = context.Process(target=run_and_die, args=(source, tmp_path / "layers", 10))
    killed.start()  # 4 frames looked at, 4 gathered, the second one being cut
    killed.join()
    assert killed.exitcode == -9
    assert not (tmp_path / "layers").exists()
    work = tmp_path / ".layers.footage"
    before = {path.name: path.stat().st_mtime_ns for path in (work / "planes").iterdir()}
    assert sorted(before) == ["000000.npz", "000001.npz"]
    network = Network()
    again = apart(source, tmp_path / "layers", network)
    assert network.asked == 0
    assert not work.exists()
    for name in ("00-background.mkv", "01-red-subject.mkv", "layers.json"):
        assert (tmp_path / "layers" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert again.report == whole.report


def test_other_settings_begin_anew(tmp_path: Path) -> None:
    source = shot(3, (48, 40)).written(tmp_path / "shot.mkv")

    def stop(done: int, total: int, shown: Any) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apart(source, tmp_path / "layers", progress=stop)
    network = Network()
    apart(source, tmp_path / "layers", network, refine=False)
    assert network.asked == 3


def test_the_network_looks_at_every_third_frame(tmp_path: Path) -> None:
    scene = shot(7, step=2.0)
    network = Network()
    made = apart(scene.written(tmp_path / "shot.mkv"), tmp_path / "layers", network, every=3)
    assert network.asked == made.report["looked"] == 3
    _, foregrounds = planes(made)
    assert np.abs(to_float(foregrounds[..., 3]) - scene.alpha).mean() < 0.02


def test_frames_the_network_misses_are_filled_by_their_neighbours(tmp_path: Path) -> None:
    scene = shot(5, step=2.0)
    source = scene.written(tmp_path / "shot.mkv")
    made = apart(source, tmp_path / "layers", Network(blind=(2,)))
    assert made.report["without a clear subject"] == 1
    _, foregrounds = planes(made)
    assert np.abs(to_float(foregrounds[2, ..., 3]) - scene.alpha[2]).mean() < 0.02
    with pytest.raises(NoSubject, match="no clear subject in 3 of the 5 frames"):
        apart(source, tmp_path / "none", Network(blind=(0, 1, 3)))
    assert not (tmp_path / ".none.footage").exists()


def test_what_moves_is_cut_without_a_network(tmp_path: Path) -> None:
    scene = shot(7, step=12.0)
    made = apart(scene.written(tmp_path / "shot.mkv"), tmp_path / "layers", None, matte="motion")
    _, foregrounds = planes(made)
    assert np.abs(to_float(foregrounds[..., 3]) - scene.alpha).mean() < 0.02
    plain = np.repeat(shot(1).plate, 4, axis=0)
    still = [np.dstack([to_u8(each), np.full(each.shape[:2], 255, np.uint8)]) for each in plain]
    flat = LayerClip.of([LayerDocument((96, 64), (Layer("x", each),)) for each in still], 12)
    write_clip(flat, tmp_path / "flat.mkv")
    with pytest.raises(NoSubject, match="nothing moves"):
        apart(tmp_path / "flat.mkv", tmp_path / "none", None, matte="motion")


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    scene = shot(3, (48, 40))
    deep = scene.frames.astype(np.uint16) * 257
    deep[..., :3] = np.clip(deep[..., :3].astype(int) + 77, 0, 65535)
    clip = LayerClip.of([LayerDocument((48, 40), (Layer("x", each),)) for each in deep], 12)
    write_clip(clip, tmp_path / "deep.mkv")
    made = apart(tmp_path / "deep.mkv", tmp_path / "layers")
    backgrounds, foregrounds = planes(made)
    assert backgrounds.dtype == foregrounds.dtype == np.uint16
    clear = foregrounds[..., 3] == 0
    np.testing.assert_array_equal(backgrounds[clear], deep[clear])
    assert made.error.maximum < 4 / 65535


def test_lossy_layers_state_their_error(tmp_path: Path) -> None:
    source = shot(3, (64, 48)).written(tmp_path / "shot.mkv")
    made = apart(source, tmp_path / "layers", codec="prores")
    shown = [composite_u8(document).astype(int) for document in read_clip(tmp_path / "layers")]
    frames = shot(3, (64, 48)).frames
    true = max(np.abs(a - b)[..., :3].max() for a, b in zip(shown, frames, strict=True))
    assert abs(made.error.maximum * 255 - true) <= 1
    assert 0 < made.error.mean < 0.01


def test_what_is_no_footage(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "still.png")
    scene = shot(2, (48, 40))
    source = scene.written(tmp_path / "shot.mkv")
    with pytest.raises(RequestError, match="no clip"):
        apart(tmp_path / "still.png", tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        apart(tmp_path / "nothing.mp4", tmp_path / "out")
    with pytest.raises(RequestError, match="folder of layers"):
        apart(source, tmp_path / "out.psd")
    with pytest.raises(RequestError, match="codec"):
        apart(source, tmp_path / "out", codec="gif")
    with pytest.raises(TypeError, match="decompose_footage takes matte"):
        apart(source, tmp_path / "out", layers=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="would not replace"):
        apart(source, tmp_path / "mine")
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(source.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"torn\.mkv"):
        apart(torn, tmp_path / "out")
    clear = scene.frames.copy()
    clear[:, :9, :, 3] = 0
    documents = [LayerDocument((48, 40), (Layer("x", each),)) for each in clear]
    write_clip(LayerClip.of(documents, 12), tmp_path / "clear.mkv")
    with pytest.raises(RequestError, match="see-through"):
        apart(tmp_path / "clear.mkv", tmp_path / "out")


def test_two_runs_do_not_make_the_same_folder(tmp_path: Path) -> None:
    source = shot(2, (48, 40)).written(tmp_path / "shot.mkv")
    other = Workplace(tmp_path / "layers", {})
    with pytest.raises(BlockingIOError, match="another run"):
        apart(source, tmp_path / "layers")
    other.close(keep=False)


def test_ground_has_no_red() -> None:
    assert red(ground(20, 20)).max() < 0.3
