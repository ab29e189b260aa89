"""Text2Layer's protocol on made folders: what is read, what is scored, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multiplane.apps.cli.main import main
from multiplane.core.composite import over
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.pixels import to_float, to_u8
from multiplane.core.request import Task
from multiplane.data.shards import read_shard, write_shard
from multiplane.engine import Model
from multiplane.evaluation import bench
from multiplane.evaluation import text2layer_run as protocol
from multiplane.evaluation.prompts import FixedPrompt, fixed_prompts
from multiplane.evaluation.retrieval import Gallery, described, looks
from multiplane.evaluation.text2layer import mask_scores, ranks, score_outputs, with_foregrounds
from multiplane.evaluation.text2layer_outputs import Output, make_outputs, read_outputs
from multiplane.evaluation.text2layer_sets import FLAT, SCENE, reference_sets, request_for
from multiplane.io import write
from small_world import write_shards as write_feed_shards

from .stage import COLORS, SIDE, Bright, KnowingFamily, MeanColor, SeeingJudges, disc, write_shards

PROMPTS = [
    FixedPrompt("train", i, f"a {name} disc", name, "night") for i, name in enumerate(COLORS)
]


def ground() -> np.ndarray:
    plain = np.zeros((SIDE, SIDE, 4), np.uint8)
    plain[..., 2], plain[..., 3] = 40, 255
    return plain


def a_document(name: str) -> LayerDocument:
    front = disc(COLORS[name], 10, 16, 16)
    layers = (Layer("Ground", ground(), role="background"), Layer("It", front, role="foreground"))
    return LayerDocument((SIDE, SIDE), layers)


def outputs(color_of=lambda name: name) -> list[Output]:
    found = []
    for prompt in PROMPTS:
        front = to_float(disc(COLORS[color_of(prompt.concept)], 10, 16, 16))
        shown = over(front, to_float(ground()))
        found.append(Output(prompt.name, shown[..., :3], front, to_float(ground())[..., :3]))
    return found


def a_gallery() -> Gallery:
    drawings = [to_float(disc(color, 14, 16, 16)) for color in COLORS.values()]
    vectors = described(looks(drawings, MeanColor()))
    return Gallery.fit(vectors, list(COLORS), vectors)


def test_every_kind_of_entry_reads_alike(tmp_path: Path) -> None:
    document = a_document("red")
    write(document, tmp_path / "train-00")
    write(document, tmp_path / "train-01.psd")
    write(document, tmp_path / "train-02.ora")
    folder = tmp_path / "train-03"
    folder.mkdir()
    shown = to_u8(over(to_float(disc(COLORS["red"], 10, 16, 16)), to_float(ground())))
    for kind, pixels in (
        ("foreground", disc(COLORS["red"], 10, 16, 16)),
        ("background", ground()),
        ("composite", shown),
    ):
        Image.fromarray(pixels).save(folder / f"{kind}.png")
    names = [f"train-0{index}" for index in range(4)]
    read = read_outputs(tmp_path, names)
    assert [each.name for each in read] == names
    for each in read:
        assert each.foreground is not None
        assert each.background is not None
        np.testing.assert_allclose(each.foreground, to_float(disc(COLORS["red"], 10, 16, 16)))
        np.testing.assert_allclose(each.background, to_float(ground())[..., :3])
        np.testing.assert_allclose(each.composite, to_float(shown)[..., :3], atol=2 / 255)


def test_a_flat_entry_has_no_layers_and_missing_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "train-00").mkdir()
    Image.fromarray(ground()).save(tmp_path / "train-00" / "composite.png")
    (read,) = read_outputs(tmp_path, ["train-00"])
    assert read.foreground is None
    assert read.background is None
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 2 outputs \(train-01"):
        read_outputs(tmp_path, ["train-00", "train-01"])
    (tmp_path / "train-00" / "composite.png").unlink()
    with pytest.raises(FileNotFoundError, match="neither layers"):
        read_outputs(tmp_path, ["train-00"])
    with pytest.raises(FileNotFoundError, match="no folder of outputs"):
        read_outputs(tmp_path / "nowhere", ["train-00"])


def test_outputs_are_compared_at_one_size() -> None:
    small = outputs()[0].at(16)
    assert small.foreground is not None
    assert small.foreground.shape == (16, 16, 4)
    assert small.composite.shape == (16, 16, 3)
    blocks = outputs()[0].composite.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small.composite, blocks, atol=1e-5)
    assert outputs()[0].at(SIDE).composite.shape == (SIDE, SIDE, 3)


def test_ranks_are_one_for_the_nearest_and_zero_for_the_furthest() -> None:
    gallery = a_gallery()
    vectors = described(looks([to_float(disc(COLORS["red"], 10, 16, 16))], MeanColor()))
    order = gallery.nearest(vectors, len(COLORS))[0]
    assert order[0] == "red"
    assert ranks(gallery, vectors, ["red"])[0] == 1
    assert ranks(gallery, vectors, [order[-1]])[0] == 0
    assert ranks(gallery, vectors, [order[2]])[0] == pytest.approx(0.6)


def test_right_outputs_score_above_wrong_ones() -> None:
    real = MeanColor().of([each.composite for each in outputs()])
    shuffled = dict(zip(COLORS, [*list(COLORS)[1:], next(iter(COLORS))], strict=True))

    def score(made: list[Output]):
        return score_outputs(
            made, PROMPTS, {"real": real}, a_gallery(), MeanColor(), Bright(), Bright(),
            lambda *_: None, "made",
        )  # fmt: skip

    right, wrong = score(outputs()), score(outputs(lambda name: shuffled[name]))
    assert right["layers"]
    assert right["text"]["train"]["rank"]["mean"] == 1
    assert wrong["text"]["train"]["rank"]["mean"] < 0.8
    assert right["kid"]["real"]["value"] == pytest.approx(wrong["kid"]["real"]["value"])
    dark = [Output(each.name, each.composite * 0.1, each.foreground) for each in outputs()]
    assert score(dark)["kid"]["real"]["value"] > right["kid"]["real"]["value"] + 1e-4
    assert score(dark)["mask"]["judge found nothing"] == len(PROMPTS)
    json.dumps(right, allow_nan=False)


def test_masks_are_judged_on_their_own_composite_and_flat_pictures_are_cut() -> None:
    made = outputs()
    good = mask_scores(made, with_foregrounds(made, Bright()), Bright(), lambda *_: None, "")
    assert good["iou"]["mean"] > 0.85
    front = made[0].foreground
    assert front is not None
    shifted = np.roll(front, 12, axis=1)
    bad = mask_scores(made[:1], [shifted], Bright(), lambda *_: None, "")
    assert bad["iou"]["mean"] < 0.3
    flat = [Output(each.name, each.composite) for each in made]
    (cut, *_) = with_foregrounds(flat, Bright())
    np.testing.assert_array_equal(cut[..., 3], Bright().cut(flat[0].composite))
    np.testing.assert_array_equal(cut[..., :3], flat[0].composite)


def test_requests_ask_for_a_scene_or_for_the_same_words_flat() -> None:
    prompt = PROMPTS[0]
    scene = request_for(prompt, frozenset((SCENE, FLAT)), 64, "any")
    assert scene.task == SCENE
    assert scene.foregrounds[0].prompt == "a red disc"
    assert scene.background.prompt == "night"
    flat = request_for(prompt, frozenset((FLAT,)), 64, "any")
    assert flat.task == FLAT
    assert flat.composite.prompt == "a red disc in night"
    assert flat.seed == scene.seed
    with pytest.raises(ValueError, match="cannot answer captions"):
        request_for(prompt, frozenset((Task.of("-> foreground"),)), 64, "any")


def test_outputs_are_made_once(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", 1)
    family = KnowingFamily(tmp_path / "shards")
    for _ in range(2):
        make_outputs(Model(family), PROMPTS[:2], tmp_path / "made", {}, lambda *_: None)
    read = read_outputs(tmp_path / "made", ["train-00", "train-01"])
    assert all(each.foreground is not None for each in read)
    before = (tmp_path / "made" / "train-00" / "layers.json").stat().st_mtime_ns
    make_outputs(Model(family), PROMPTS[:3], tmp_path / "made", {}, lambda *_: None)
    assert (tmp_path / "made" / "train-00" / "layers.json").stat().st_mtime_ns == before
    assert (tmp_path / "made" / "train-02").is_dir()


def add_clipart(folder: Path) -> None:
    """The held-out foregrounds once more, said to be of another style."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    (held,) = [s for s in manifest["shards"] if s["name"] == "foreground-heldout-000.tar"]
    samples = []
    for key, members in read_shard(folder / held["name"]):
        about = {**json.loads(members["json"]), "style": "clipart"}
        changed = [("json", json.dumps(about).encode()), ("png", members["png"])]
        samples.append((key, lambda changed=changed: changed))
    about = {**held["about"], "style": "clipart"}
    note = write_shard(folder, "clipart.tar", samples, plan="test", about=about)
    manifest["shards"].append({"name": note.name, "about": about})
    path.write_text(json.dumps(manifest))


def test_reference_sets_are_held_out_and_the_wide_one_is_wider(tmp_path: Path) -> None:
    write_feed_shards(tmp_path / "assets")
    with pytest.raises(ValueError, match="no shard of"):
        reference_sets(tmp_path / "assets", 32, 8)
    add_clipart(tmp_path / "assets")
    sets = reference_sets(tmp_path / "assets", 32, 40)
    again = reference_sets(tmp_path / "assets", 32, 40)
    assert {name: len(pictures) for name, pictures in sets.items()} == {
        "filtered": 40,
        "unfiltered": 40,
    }
    for name, pictures in sets.items():
        for one, two in zip(pictures, again[name], strict=True):
            np.testing.assert_array_equal(one, two)
        assert all(each.shape == (32, 32, 3) for each in pictures)

    # the held-out ball is white (light may tint it), the plates are an even grey
    def share_of_object(picture: np.ndarray) -> float:
        return float((picture.max(axis=2) > 0.62).mean())

    shares = {name: [share_of_object(each) for each in found] for name, found in sets.items()}
    assert np.median(shares["filtered"]) > 0.1
    assert max(shares["unfiltered"][20:30]) < 0.06  # an object far too small
    assert max(shares["unfiltered"][30:]) <= max(shares["filtered"])


def test_the_command_scores_folders_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench.Judges, "features", SeeingJudges.features)
    monkeypatch.setattr(bench.Judges, "judge", SeeingJudges.judge)
    monkeypatch.setattr(bench.Judges, "cutter", SeeingJudges.cutter)
    write_shards(tmp_path / "shards", 1)
    captions = fixed_prompts(6)
    monkeypatch.setattr(protocol, "fixed_prompts", lambda limit: PROMPTS[:limit])
    real = [each.composite for each in outputs()]
    monkeypatch.setattr(
        protocol, "reference_sets", lambda *_: {"filtered": real, "unfiltered": real[::-1]}
    )
    assert captions[0].name == "train-00"
    for prompt in PROMPTS:
        write(a_document(prompt.concept), tmp_path / "made" / prompt.name)
        flat = tmp_path / "flat" / prompt.name
        flat.mkdir(parents=True)
        shown = over(to_float(disc(COLORS[prompt.concept], 10, 16, 16)), to_float(ground()))
        Image.fromarray(to_u8(shown)).save(flat / "composite.png")

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(["evaluate", "text2layer", "--shards", str(tmp_path / "shards"), *arguments])
        return int(left.value.code or 0)

    out = str(tmp_path / "out")
    code = run(
        f"mine={tmp_path / 'made'}", str(tmp_path / "flat"), "-o", out, "--limit", "6",
        "--side", str(SIDE), "--json",
    )  # fmt: skip
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["models"]) == ["mine", "flat"]
    assert found["models"]["mine"]["layers"]
    assert not found["models"]["flat"]["layers"]
    assert found["models"]["mine"]["text"]["all"]["rank"]["mean"] == 1
    assert (tmp_path / "out" / "text2layer.png").is_file()
    assert json.loads((tmp_path / "out" / "text2layer.json").read_text()) == found
    assert run(str(tmp_path / "made")) == 2
    assert "-o FOLDER" in capsys.readouterr().err
    (tmp_path / "flat" / "train-00" / "composite.png").unlink()
    assert run(str(tmp_path / "flat"), "-o", out, "--limit", "6") == 1
    assert "composite.png" in capsys.readouterr().err
    assert run(str(tmp_path / "flat"), str(tmp_path / "made"), "-o", out, "-m", "tiny") == 2
    assert "one folder of outputs" in capsys.readouterr().err
