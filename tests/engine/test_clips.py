"""Requests for several frames: every row, known frames, rates, errors; on flat shapes that move."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flat_family import FlatFamily
from moving_family import MovingFamily
from multiplane.core.clip import LayerClip
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.frames import filled, known_frames
from multiplane.core.request import Control, LayerRequest, Plane, RequestError, Task
from multiplane.engine import Model, build_request, plane
from multiplane.engine.generated import GeneratedClip, GeneratedDocument

WIDTH, HEIGHT, FRAMES = 48, 32, 5


def opaque(frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (frames, HEIGHT, WIDTH, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    return pixels


def cut(frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    pixels = opaque(frames, seed)
    pixels[..., 3] = np.random.default_rng(seed + 9).integers(0, 256, pixels.shape[:3])
    return pixels


def made(model: Model, *planes: Any, **settings: Any) -> GeneratedClip:
    clip = model.generate(*planes, **settings)
    assert isinstance(clip, GeneratedClip)
    return clip


def shown(document: LayerDocument) -> np.ndarray:
    """What a document shows, by another program."""
    bottom, *rest = (Image.fromarray(np.array(layer.pixels), "RGBA") for layer in document.leaves())
    for layer in rest:
        bottom = Image.alpha_composite(bottom, layer)
    return np.asarray(bottom)


def stack_of(clip: LayerClip, name: str) -> np.ndarray:
    return np.stack([document.find(name).pixels for document in clip])


@pytest.fixture
def model() -> Model:
    return Model(MovingFamily())


ROWS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"foreground": "a cat", "frames": FRAMES}, ("a cat",)),
    ({"foreground": "a cat", "background": "a hill", "frames": FRAMES}, ("a hill", "a cat")),
    ({"foreground": cut(), "background": "a hill"}, ("a hill", "Foreground")),
    ({"foreground": "a cat", "background": opaque()}, ("Background", "a cat")),
    ({"foreground": "the dog", "composite": opaque()}, ("Background", "the dog")),
    (
        {"foreground": cut(), "background": True, "composite": opaque(seed=1)},
        ("Background", "Foreground"),
    ),
    (
        {"foreground": True, "background": opaque(), "composite": opaque(seed=1)},
        ("Background", "Foreground"),
    ),
    ({"composite": "a garden", "frames": FRAMES}, ("a garden",)),
]


@pytest.mark.parametrize(("planes", "names"), ROWS)
def test_every_row_adds_up_frame_by_frame(
    model: Model, planes: dict[str, Any], names: tuple[str, ...]
) -> None:
    clip = made(model, **planes, seed=1)
    assert tuple(name for name in clip.names if name != "Residual") == names
    assert (clip.frames, clip.size, clip.fps) == (FRAMES, (WIDTH, HEIGHT), 8)
    for name in ("foreground", "background"):
        if isinstance(planes.get(name), np.ndarray):
            np.testing.assert_array_equal(stack_of(clip, name.capitalize()), planes[name])
    target = planes.get("composite")
    if isinstance(target, np.ndarray):
        for document, expected in zip(clip, target, strict=True):
            distance = np.abs(shown(document).astype(int) - expected.astype(int))
            assert distance.max() <= 2  # Pillow rounds by itself: one step more


def test_each_frame_is_settled_as_the_still_would_be(model: Model) -> None:
    target = opaque(seed=3)
    clip = made(model, "the dog", composite=target, seed=4)
    stills = Model(FlatFamily())
    first = stills.generate("the dog", composite=target[0], seed=4)
    np.testing.assert_array_equal(
        clip[0].find("Background").pixels, first.find("Background").pixels
    )
    assert clip.provenance is not None
    report = clip.provenance.report
    worst = max(
        abs(shown(document).astype(int) - frame.astype(int)).max()
        for document, frame in zip(clip, target, strict=True)
    )
    assert abs(report["recomposition"]["maximum"] * 255 - worst) <= 1.01
    assert report["family"] == {"frames": FRAMES}


def test_a_still_is_animated(model: Model) -> None:
    """A given plane over fewer frames than asked is kept there and wanted in the rest."""
    still = cut(1)[0]
    clip = made(model, still, "a hill", frames=FRAMES, seed=2)
    (request,) = model.family.requests  # type: ignore[attr-defined]
    known = request.foregrounds[0]
    assert request.task == Task.of("-> foreground background composite")
    assert (known.state, known.pixels.shape, known_frames(known)) == (
        "wanted",
        (FRAMES, HEIGHT, WIDTH, 4),
        1,
    )
    pixels = stack_of(clip, "Foreground")
    np.testing.assert_array_equal(pixels[0], still)
    assert all((pixels[t] != still).any() for t in range(1, FRAMES))


def test_every_plane_may_be_a_still(model: Model) -> None:
    """Nothing is wanted but the rest of the frames."""
    clip = made(model, cut(1), opaque(1), frames=FRAMES, seed=2)
    assert clip.names == ("Background", "Foreground")
    np.testing.assert_array_equal(clip[0].find("Background").pixels, opaque(1)[0])
    np.testing.assert_array_equal(clip[0].find("Foreground").pixels, cut(1)[0])
    assert (clip[1].find("Background").pixels != opaque(1)[0]).any()


def test_a_clip_is_extended(model: Model) -> None:
    given = opaque(3)
    clip = made(model, "a cat", given, frames=FRAMES, seed=2)
    pixels = stack_of(clip, "Background")
    np.testing.assert_array_equal(pixels[:3], given)
    assert all((pixels[t] != given[2]).any() for t in (3, 4))


def test_repeating_a_still_holds_it(model: Model) -> None:
    still = opaque(1)
    clip = made(model, "a cat", np.repeat(still, FRAMES, axis=0), seed=2)
    np.testing.assert_array_equal(stack_of(clip, "Background"), still.repeat(FRAMES, axis=0))
    (request,) = model.family.requests  # type: ignore[attr-defined]
    assert request.background.state == "given"


def test_filling_twice_changes_nothing() -> None:
    keep = np.full((HEIGHT, WIDTH), 255, np.uint8)
    keep[:9] = 0
    request = LayerRequest(
        foregrounds=(Plane(pixels=cut(2), keep=keep), Plane(pixels=cut(1)[0], strength=0.5)),
        background=Plane(pixels=opaque(1)[0]),
        frames=4,
    )
    once = filled(request)
    masked, noised = once.foregrounds
    assert masked.keep is not None
    assert masked.keep.shape == (4, HEIGHT, WIDTH)
    assert [int(frame.max()) for frame in masked.keep] == [255, 255, 0, 0]
    assert (known_frames(masked), known_frames(once.background)) == (0, 1)
    assert (noised.keep, noised.frames, noised.state) == (None, 4, "wanted")
    twice = filled(once)
    assert twice.to_json() == once.to_json()
    assert LayerRequest.from_json(once.to_json(), once.pictures()).to_json() == once.to_json()


def test_several_foregrounds_are_stacked(model: Model) -> None:
    clip = made(model, ["a cat", cut(), "a dog"], opaque(), seed=3)
    assert clip.names == ("Background", "a cat", "Foreground", "a dog")
    np.testing.assert_array_equal(stack_of(clip, "Foreground"), cut())
    last = model.family.requests[-1]  # type: ignore[attr-defined]
    below = np.stack([shown(_without(document, "a dog")) for document in clip])
    assert np.abs(last.background.pixels.astype(int) - below.astype(int)).max() <= 1


def _without(document: LayerDocument, name: str) -> LayerDocument:
    rest = tuple(layer for layer in document.leaves() if layer.name != name)
    return LayerDocument(document.size, rest)


def test_a_clip_of_layers_is_given(model: Model) -> None:
    documents = [
        LayerDocument((WIDTH, HEIGHT), (Layer("a", ground), Layer("b", front)))
        for ground, front in zip(opaque(), cut(), strict=True)
    ]
    clip = LayerClip.of(documents, "24000/1001")
    result = made(model, "a cat", clip, seed=1)
    assert result.fps == Fraction(24000, 1001)
    expected = np.stack([shown(document) for document in documents])
    given = stack_of(result, "Background")
    assert np.abs(given.astype(int) - expected.astype(int)).max() <= 1
    deep = cut().astype(np.uint16) * 257
    single = LayerClip.of([LayerDocument((WIDTH, HEIGHT), (Layer("a", f),)) for f in deep], 8)
    np.testing.assert_array_equal(build_request("m", single).foregrounds[0].pixels, deep)
    masked = plane(single, "a cat", mask=np.zeros((HEIGHT, WIDTH), np.uint8))
    assert masked.frames == FRAMES


def test_a_control_a_frame_or_one_for_all(model: Model) -> None:
    one = np.zeros((HEIGHT, WIDTH), np.uint8)
    one[4:9, 4:9] = 255
    clip = made(model, "a cat", silhouette=one, frames=2, seed=1)
    np.testing.assert_array_equal(stack_of(clip, "a cat")[0][..., 3], one)
    request = LayerRequest(
        (Plane(True),), frames=3, controls=(Control("foreground", "silhouette", np.stack([one])),)
    )
    with pytest.raises(RequestError, match="has 1 frames and 3 are asked for"):
        request.check()


def test_same_seed_same_bytes(model: Model) -> None:
    first, second = (made(model, "a cat", "a hill", frames=3, seed=8) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        hashes = [[layer.content_hash for layer in each.leaves()] for each in (one, other)]
        assert hashes[0] == hashes[1]


def test_one_frame_is_a_still(model: Model) -> None:
    assert isinstance(model.generate("a cat", frames=1, seed=1), GeneratedDocument)
    single = model.generate("a cat", opaque(1), frames=1, seed=1)
    assert isinstance(single, GeneratedDocument)
    np.testing.assert_array_equal(single.find("Background").pixels, opaque(1)[0])


def test_what_is_refused(model: Model) -> None:
    stills = Model(FlatFamily())
    with pytest.raises(RequestError, match="'flat' makes stills: frames must be 1, got 5"):
        stills.generate("a cat", frames=5)
    with pytest.raises(RequestError, match="'flat' makes stills"):
        stills.generate("a cat", opaque())
    with pytest.raises(RequestError, match="at most 12 frames at once, got 13"):
        model.generate("a cat", frames=13)
    with pytest.raises(RequestError, match="background has 5 frames and 3 are asked for"):
        model.generate("a cat", opaque(), frames=3)
    with pytest.raises(RequestError, match="use `run_clip`"):
        model.run(model.request("a cat", frames=3))
    with pytest.raises(RequestError, match="is a still: use `run`"):
        model.run_clip(model.request("a cat"))
    with pytest.raises(RequestError, match="see-through"):
        model.generate("a cat", cut())
    rates = [
        LayerClip.still(LayerDocument((4, 4), (Layer("a", cut(1)[0, :4, :4]),)), 2, fps)
        for fps in (24, 25)
    ]
    with pytest.raises(RequestError, match="play at 24 and 25 frames a second: say fps"):
        build_request("m", rates[0], composite=rates[1])
    assert build_request("m", rates, "a hill", settings={"fps": 12}).fps == 12
