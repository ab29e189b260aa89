"""The whole road on made photographs with the network that is in the package: what is written,
what is left out and why, and that no kill costs more than the record at hand."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")

from made_photos import (
    COLOURS,
    POISON,
    dies_over_violet,
    photo,
    photo_folder,
    photo_tar,
    quick_matte,
)
from multiplane.data.kept_records import TooManyFailures
from multiplane.data.layer_photos import work
from multiplane.data.layer_photos.build import PhotoJob, build_photos
from multiplane.data.layer_photos.sources import photo_sources
from multiplane.data.layer_photos.steps import PhotoConfig, read_layers
from multiplane.data.shards import read_shard
from small_quality import small_quality

CONFIG = PhotoConfig(size=80, matte="u2netp", complete="opencv", quality="")
LOOP = PhotoJob(CONFIG, given="in", where="loop", per_shard=2)


def build(job: PhotoJob, folder: Path, out: Path, **more):
    return build_photos(job, photo_sources(folder), out, **more)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def samples(out: Path) -> dict[str, dict[str, bytes]]:
    """caption -> members of every sample."""
    found = [members for tar in sorted(out.glob("*.tar")) for _, members in read_shard(tar)]
    return {json.loads(members["json"])["caption"]: members for members in found}


def test_layers_add_up_and_the_surroundings_stay(tmp_path: Path) -> None:
    manifest = build(LOOP, photo_folder(tmp_path / "in"), tmp_path / "out")
    assert manifest["counts"] == {"scene-photo-train": 3}
    assert [note["count"] for note in manifest["shards"]] == [2, 1]
    stored = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert stored == json.loads(json.dumps(manifest))
    for name, caption in (("red", "a red ball on a meadow"), ("violet", "a violet ball")):
        members = samples(tmp_path / "out")[caption]
        picture, mask, background = read_layers(members)
        assert picture.shape == (80, 80, 3)
        assert 0.1 < mask.mean() < 0.25  # the ball covers 0.15
        np.testing.assert_array_equal(background[mask == 0], picture[mask == 0])
        inside = np.asarray(COLOURS[name]) / 255
        assert np.abs(background[40, 40] - inside).max() > 0.2  # the ball is gone
        about = json.loads(members["json"])
        assert about["disagreement"]["mean"] < 0.5
        front = np.asarray(Image.open(io.BytesIO(members["foreground.png"])))
        assert np.abs(front[mask > 0.5][:, :3] / 255 - inside).max(1).mean() < 0.1


def test_the_way_of_the_paper_copies_pixels(tmp_path: Path) -> None:
    job = replace(LOOP, config=replace(CONFIG, colours="copied", refine=False, crop="square"))
    build(job, photo_folder(tmp_path / "in"), tmp_path / "out")
    members = samples(tmp_path / "out")["a violet ball"]
    picture, mask, background = read_layers(members)
    front = np.asarray(Image.open(io.BytesIO(members["foreground.png"])))
    shown = mask > 0.105
    np.testing.assert_array_equal(front[shown][:, :3], np.round(picture[shown] * 255))
    assert not front[mask < 0.095][:, :3].any()
    assert (background != picture).any(axis=2)[shown].mean() > 0.9


@pytest.mark.usefixtures("quick")
def test_a_tar_gives_what_a_folder_gives(tmp_path: Path) -> None:
    build(LOOP, photo_folder(tmp_path / "in"), tmp_path / "of_folder")
    manifest = build(LOOP, photo_tar(tmp_path / "in.tar"), tmp_path / "of_tar")
    assert [each["reason"] for each in manifest["skipped"]] == ["in.tar/003: it has no caption"]
    one = samples(tmp_path / "of_tar")["a violet ball"]
    other = samples(tmp_path / "of_folder")["a violet ball"]
    assert {n: d for n, d in one.items() if n != "json"} == {
        n: d for n, d in other.items() if n != "json"
    }


def test_a_bad_picture_costs_itself_and_says_why(tmp_path: Path) -> None:
    manifest = build(LOOP, photo_folder(tmp_path / "in", poison=True), tmp_path / "out")
    assert manifest["counts"] == {"scene-photo-train": 3}
    reasons = [each["reason"] for each in manifest["skipped"]]
    assert len(reasons) == len(POISON)
    for name, reason in POISON.items():
        (said,) = [each for each in reasons if each.startswith(name)]
        assert reason in said
        assert str(tmp_path) not in said


@pytest.mark.usefixtures("quick")
def test_the_cheap_filters_leave_out_what_they_should(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "in")
    narrow = replace(LOOP, config=replace(CONFIG, area=(0.4, 0.7)))
    manifest = build(narrow, folder, tmp_path / "narrow")
    assert all("allowed are 40% to 70%" in each["reason"] for each in manifest["skipped"])
    assert len(manifest["skipped"]) == 3


@pytest.mark.usefixtures("quick")
def test_classifiers_drop_or_note(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "in")
    strict = small_quality(tmp_path / "strict", threshold=1.1)
    config = replace(CONFIG, quality=str(strict))
    manifest = build(replace(LOOP, config=config), folder, tmp_path / "dropped")
    assert manifest["counts"] == {"scene-photo-train": 0}
    assert all("is below 1.10" in each["reason"] for each in manifest["skipped"])
    build(replace(LOOP, config=replace(config, drop=False)), folder, tmp_path / "noted")
    for members in samples(tmp_path / "noted").values():
        about = json.loads(members["json"])
        assert about["kept"] is False
        assert set(about["scores"]) == {"mask", "completion"}


class Stopped(BaseException):
    """A kill in the middle of a record."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the network, where it is not what is asked about."""
    monkeypatch.setattr(work.SalientMatte, "load", lambda name, threads=0: quick_matte)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("stop_at", [0, 1, 2, 4])
def test_a_stop_anywhere_costs_the_record_at_hand(
    tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo_folder(tmp_path / "in")
    for name in ("a", "z"):
        photo((10, 200, 90), seed=9).save(folder / f"{name}.png")
    build(LOOP, folder, tmp_path / "whole")
    made: list[str] = []
    load = work.steps.load

    def counting(source, config):
        if len(made) == stop_at and not again:
            raise Stopped
        made.append(source.name)
        return load(source, config)

    monkeypatch.setattr(work.steps, "load", counting)
    again = False
    with pytest.raises(Stopped):
        build(LOOP, folder, tmp_path / "part")
    again = True
    build(LOOP, folder, tmp_path / "part")
    assert sorted(made) == sorted(source.name for source in photo_sources(folder))
    assert files_of(tmp_path / "part") == files_of(tmp_path / "whole")
    made.clear()
    build(LOOP, folder, tmp_path / "part")
    assert made == []


@pytest.mark.usefixtures("quick")
def test_a_program_that_always_fails_is_not_taken_for_bad_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo_folder(tmp_path / "in")
    for number in range(12):
        photo((10, 200, 90), size=64, seed=number).save(folder / f"{number}.png")

    def broken(*arguments):
        raise RuntimeError("the device fell off")

    with monkeypatch.context() as patch:
        patch.setattr(work.steps, "take_foreground", broken)
        with pytest.raises(TooManyFailures, match="fell off"):
            build(LOOP, folder, tmp_path / "out")
    manifest = build(LOOP, folder, tmp_path / "out", count=4)
    assert manifest["skipped"] == []


COMMAND = (
    *("data", "layer-photos", "in", "-o", "out", "--matte", "u2netp", "--complete", "opencv"),
    *("--quality", "none", "--size", "80", "--per-shard", "3", "--workers", "2"),
)


@pytest.mark.slow
def test_a_killed_pool_goes_on_and_leaves_no_process(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "in")
    for number in range(7):
        photo((10, 200, 90), seed=number).save(folder / f"more{number}.png")
    job = replace(LOOP, per_shard=3)
    build(job, folder, tmp_path / "whole")
    run = [sys.executable, "-m", "multiplane.apps.cli.main", *COMMAND]
    process = subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "out").glob(".records/*.tar.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 30
    while any(_runs(int(child)) for child in children):
        assert time.monotonic() < deadline, "processes of the pool outlived it"
        time.sleep(0.05)
    subprocess.run(run, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, timeout=240)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_picture_that_kills_its_process_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo_folder(tmp_path / "in")
    monkeypatch.setattr(work, "_work", dies_over_violet)
    manifest = build(replace(LOOP, where="pool", workers=2), folder, tmp_path / "out")
    assert manifest["counts"] == {"scene-photo-train": 2}
    assert [each["reason"] for each in manifest["skipped"]] == [
        "violet-ball.png: the process that worked on it died"
    ]


@pytest.mark.slow
def test_ray_gives_what_the_loop_gives(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = photo_folder(tmp_path / "in", poison=True)
    config = replace(CONFIG, quality=str(small_quality(tmp_path / "quality")))
    loop = replace(LOOP, config=config)
    build(loop, folder, tmp_path / "loop")
    build(replace(loop, where="ray", workers=2), folder, tmp_path / "ray")
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "loop")
    import ray

    assert not ray.is_initialized()
