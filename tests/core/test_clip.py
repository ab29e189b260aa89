"""`LayerClip`: lazy, re-iterable, checked frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from multiplane.core.clip import ClipError, LayerClip, rate_of
from multiplane.core.document import Layer, LayerDocument, Provenance


def frame(value: int, size: tuple[int, int] = (4, 3), name: str = "a") -> LayerDocument:
    pixels = np.full((size[1], size[0], 4), value, np.uint8)
    return LayerDocument(size, (Layer("ground", pixels), Layer(name, pixels)))


def values(clip: LayerClip) -> list[int]:
    return [int(document.leaves()[0].pixels[0, 0, 0]) for document in clip]


class Source:
    """A stream that counts how often it was opened, read and closed."""

    def __init__(self, documents: list[LayerDocument]) -> None:
        self.documents = documents
        self.opened = self.read = self.closed = 0

    def __call__(self) -> Iterator[LayerDocument]:
        self.opened += 1
        try:
            for document in self.documents:
                self.read += 1
                yield document
        finally:
            self.closed += 1


def test_a_list_of_documents() -> None:
    clip = LayerClip.of([frame(value) for value in range(5)], 24)
    assert (clip.size, clip.fps, clip.frames, len(clip)) == ((4, 3), Fraction(24), 5, 5)
    assert clip.names == ("ground", "a")
    assert values(clip) == values(clip) == [0, 1, 2, 3, 4]
    assert clip.seconds == Fraction(5, 24)
    assert clip[2] is clip[-3]
    assert values(clip[1:4:2]) == [1, 3]
    assert values(clip[1:][1:3]) == [2, 3]
    with pytest.raises(IndexError, match="5 frames and no frame 5"):
        clip[5]


def test_a_stream_is_opened_afresh_and_closed() -> None:
    source = Source([frame(value) for value in range(5)])
    clip = LayerClip.of(source, "24000/1001")
    assert (source.read, source.closed) == (1, 1)  # the first frame, to learn size and names
    assert clip.frames is None
    assert values(clip) == values(clip) == [0, 1, 2, 3, 4]
    assert len(list(clip)) == 5  # list() asks for a length and must live without
    with pytest.raises(TypeError, match="does not know its length"):
        len(clip)
    before = source.read
    assert int(clip[1].leaves()[0].pixels[0, 0, 0]) == 1
    assert source.read == before + 2
    assert source.closed == source.opened
    for document in clip[1:]:
        assert document.leaves()[0].pixels[0, 0, 0] == 1
        break
    with pytest.raises(IndexError, match="ends before"):
        clip[9]
    with pytest.raises(ClipError, match="forward from 0"):
        clip[-2:]


def test_map_is_lazy() -> None:
    source = Source([frame(value) for value in range(4)])
    seen: list[int] = []

    def doubled(document: LayerDocument) -> LayerDocument:
        value = int(document.leaves()[0].pixels[0, 0, 0])
        seen.append(value)
        return frame(2 * value, (8, 6), "b")

    clip = LayerClip.of(source, 8, frames=4, provenance=Provenance("m")).map(doubled)
    assert seen == [0]
    assert (clip.size, clip.names, clip.frames) == ((8, 6), ("ground", "b"), 4)
    assert clip.provenance == Provenance("m")
    iterator = iter(clip)
    next(iterator)
    next(iterator)
    assert seen == [0, 0, 1]
    assert values(clip) == [0, 2, 4, 6]
    known = LayerClip.of([frame(1), frame(2)], 8)
    assert values(known.map(doubled, size=(8, 6), names=("ground", "b"))[1:]) == [4]


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (frame(2, (4, 4)), "frame 2 is 4 x 4 and the clip is 4 x 3"),
        (frame(2, name="b"), "frame 2 has the layers ground, b and the clip has ground, a"),
    ],
)
def test_an_odd_frame_is_named(odd: LayerDocument, message: str) -> None:
    clip = LayerClip.of([frame(0), frame(1), odd, frame(3)], 24)
    iterator = iter(clip)
    next(iterator), next(iterator)
    with pytest.raises(ClipError, match=message):
        next(iterator)
    with pytest.raises(ClipError, match=message):
        clip[2]
    assert values(clip[3:]) == [3]


def test_the_number_of_frames_is_checked() -> None:
    source = Source([frame(0), frame(1)])
    with pytest.raises(ClipError, match="has 3 frames and ends after 2"):
        list(LayerClip.of(source, 24, frames=3))
    with pytest.raises(ClipError, match="has 1 frames and holds more"):
        list(LayerClip.of(source, 24, frames=1))
    assert source.closed == source.opened  # nothing is left open behind an error
    with pytest.raises(ClipError, match="at least one frame"):
        LayerClip.of([], 24)
    with pytest.raises(ClipError, match="no frame of 2 lies in 2:9"):
        LayerClip.of(source.documents, 24)[2:9]


def test_a_still_is_held() -> None:
    clip = LayerClip.still(frame(7), 3, 25)
    assert values(clip) == [7, 7, 7]
    assert clip[2] is clip[0]
    assert values(clip[1:]) == [7, 7]


def test_rates() -> None:
    assert rate_of(23.976) == rate_of("24000/1001") == Fraction(24000, 1001)
    assert rate_of(29.97) == Fraction(30000, 1001)
    assert rate_of(12.5) == Fraction(25, 2)
    assert rate_of(24.0) == rate_of(24) == 24
    for wrong in (0, -1, "fast", float("nan"), float("inf"), "1/0", 1001):
        with pytest.raises(ClipError, match="frames a second"):
            rate_of(wrong)
