"""The layered clip: `LayerClip`, a lazy sequence of `LayerDocument`s that play at one rate.

A clip holds no pixels. It knows how to open itself, and hands out one document after another; a
list of documents, a file that is decoded as it is read, and a function mapped over another clip are
all the same to whoever iterates. Every document is checked as it passes: one size, one set of layer
names in one order. So a clip of any length is read, changed and written in the memory of a few
frames.

How frames are spoken of elsewhere:

- A plane of a request (`multiplane.core.request.Plane`) holds pixels (H, W, 4) for a still or
  (T, H, W, 4) for frames, and `keep` (H, W) or (T, H, W) likewise. `LayerRequest.frames` says how
  many are asked for. Left unsaid, it is the length of the longest given plane.
- In Python a given plane may be a path to a clip file, a `LayerClip` (what it shows) or an array
  (T, H, W, 4).
- A given plane over fewer frames than asked is wanted in the rest: a still is animated, a clip
  extended. To hold a still over the whole clip, repeat it (`LayerClip.still`, `np.repeat`).
  `LayerRequest.resolve` writes this down as a keep mask: the plane reaches the family with all T
  frames, `keep` full scale where they were given and 0 in the rest (where `pixels` repeats the last
  given frame). A plane given in every frame has no keep mask and is never changed.
- A family that makes frames is a `multiplane.core.family.ClipFamily`; asked for frames > 1 it
  answers with planes (T, H, W, 4). The engine makes every frame add up by itself (given frames stay
  as they are) and returns a `LayerClip` with the layers a still has: background, foregrounds, and a
  residual in all frames when any frame needs one. Asked for one frame, all is as for stills.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias, overload

from multiplane.core.document import LayerDocument, Provenance

Frames: TypeAlias = "Iterable[LayerDocument]"
Rate: TypeAlias = "Fraction | int | float | str"  # frames a second: 24, "24000/1001", 29.97

MAX_RATE = 1000


class ClipError(ValueError):
    """A clip whose frames do not belong together, or that is not what it says."""


def rate_of(value: Rate) -> Fraction:
    """Frames a second as an exact fraction; 23.976, 29.97 and 59.94 mean n x 1000/1001.

    Raises ClipError for what is no number, not positive, or above 1000."""
    try:
        if isinstance(value, float):
            rate = _rate_of_float(value)
        else:
            rate = Fraction(value)
    except (ValueError, ZeroDivisionError, TypeError, OverflowError):
        raise ClipError(
            "frames a second must be a number or a fraction such as 24 or 24000/1001, got "
            f"{value!r}"
        ) from None
    if not 0 < rate <= MAX_RATE:
        raise ClipError(f"frames a second must be above 0 and at most {MAX_RATE}, got {value!r}")
    return rate


def _rate_of_float(value: float) -> Fraction:
    broadcast = value * 1.001
    if not value.is_integer() and math.isclose(broadcast, round(broadcast), abs_tol=1e-3):
        return Fraction(round(broadcast) * 1000, 1001)
    return Fraction(value).limit_denominator(1001)


def names_of(document: LayerDocument) -> tuple[str, ...]:
    """The names of a document's layers, bottom to top, groups opened."""
    return tuple(layer.name for layer in document.leaves())


@dataclass(frozen=True, eq=False)
class LayerClip:
    """A layered moving picture. size: (width, height). fps: frames a second. names: the layers of
    every frame, bottom to top, groups opened. frames: how many there are, None where a stream does
    not know before its end. `of` makes one.

    open: `open(n)` opens the frames afresh from number n on, counted from 0; nothing when there are
    no more.

    Iterating raises ClipError at the first frame that is unlike the clip, and when there are fewer
    or more of them than it says.
    """

    size: tuple[int, int]
    fps: Fraction
    names: tuple[str, ...]
    open: Callable[[int], Frames] = field(repr=False)
    frames: int | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", rate_of(self.fps))
        object.__setattr__(self, "names", tuple(self.names))
        if self.size[0] < 1 or self.size[1] < 1:
            raise ClipError(f"a clip needs at least one pixel a frame, got size {self.size}")
        if self.frames is not None and self.frames < 1:
            raise ClipError(f"a clip needs at least one frame, got {self.frames}")

    @classmethod
    def of(
        cls,
        source: Sequence[LayerDocument] | Callable[[], Frames],
        fps: Rate,
        *,
        frames: int | None = None,
        provenance: Provenance | None = None,
    ) -> LayerClip:
        """The clip of a list of documents, or of a callable that opens a fresh iterator of them.

        Size and names, and provenance unless told, are those of the first frame, which a callable
        is asked for at once. frames: how many a callable will give, where that is known."""
        if callable(source):
            first = next(itertools.islice(source(), 1), None)
            stream = source

            def opened(start: int) -> Frames:
                return itertools.islice(stream(), start, None)
        else:
            documents = tuple(source)
            first, frames = (documents or (None,))[0], len(documents)

            def opened(start: int) -> Frames:
                return documents[start:]

        if first is None:
            raise ClipError("a clip needs at least one frame, and this one opens with none")
        known = first.provenance if provenance is None else provenance
        return cls(first.size, rate_of(fps), names_of(first), opened, frames, known)

    @classmethod
    def still(cls, document: LayerDocument, frames: int, fps: Rate) -> LayerClip:
        """`document` held for `frames` frames; every frame is the same object."""
        return cls(
            document.size,
            rate_of(fps),
            names_of(document),
            lambda start: itertools.repeat(document, max(0, frames - start)),
            frames,
            document.provenance,
        )

    @property
    def seconds(self) -> Fraction | None:
        """How long the clip plays; None where the number of frames is not known."""
        return None if self.frames is None else self.frames / self.fps

    def __len__(self) -> int:
        """The number of frames. Raises TypeError for a stream that does not know it."""
        if self.frames is None:
            raise TypeError(
                "this clip is a stream that does not know its length: count it by iterating"
            )
        return self.frames

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[LayerDocument]:
        return self.starting(0)

    def starting(self, number: int) -> Iterator[LayerDocument]:
        """The frames from `number` on, checked; a source that can be entered in the middle is."""
        count = number
        for document in self.open(number):
            if count == self.frames:
                raise ClipError(f"the clip says it has {self.frames} frames and holds more")
            yield self._checked(document, count)
            count += 1
        if self.frames is not None and count < self.frames:
            raise ClipError(f"the clip says it has {self.frames} frames and ends after {count}")
        if count == 0:
            raise ClipError("a clip needs at least one frame, and this one opened with none")

    @overload
    def __getitem__(self, index: int) -> LayerDocument: ...

    @overload
    def __getitem__(self, index: slice) -> LayerClip: ...

    def __getitem__(self, index: int | slice) -> LayerDocument | LayerClip:
        """Frame `index`, or the lazy clip of a slice; negative numbers count from the end.

        Raises IndexError beyond the end, ClipError for a slice that is empty or runs backward."""
        if isinstance(index, slice):
            return self._slice(index)
        number = index + len(self) if index < 0 else index
        if number < 0 or (self.frames is not None and number >= self.frames):
            raise IndexError(f"the clip has {self.frames} frames and no frame {index}")
        for document in self.starting(number):
            return document
        raise IndexError(f"the clip ends before frame {index}")

    def _slice(self, part: slice) -> LayerClip:
        if self.frames is None:
            start, stop, step = part.start or 0, part.stop, part.step or 1
            if start < 0 or step < 0 or (stop is not None and stop <= start):
                raise ClipError("a stream without a known length can only be cut forward from 0 on")
            count = None
        else:
            start, stop, step = part.indices(self.frames)
            if step < 0:
                raise ClipError("a clip cannot run backward: list its frames first")
            count = len(range(start, stop, step))
            if count == 0:
                raise ClipError(f"no frame of {self.frames} lies in {part.start}:{part.stop}")

        def opened(number: int) -> Frames:
            first = start + number * step
            if stop is not None and first >= stop:
                return ()
            return itertools.islice(
                self.starting(first), 0, None if stop is None else stop - first, step
            )

        return replace(self, open=opened, frames=count)

    def map(
        self,
        function: Callable[[LayerDocument], LayerDocument],
        *,
        size: tuple[int, int] | None = None,
        names: Sequence[str] | None = None,
    ) -> LayerClip:
        """The clip of `function` of every frame, called when a frame is asked for.

        size, names: what the results have; learned from the first frame when left out."""
        if size is None or names is None:
            first = function(self[0])
            size, names = size or first.size, names_of(first) if names is None else names
        return replace(
            self,
            size=size,
            names=tuple(names),
            open=lambda start: map(function, self.starting(start)),
        )

    def _checked(self, document: LayerDocument, number: int) -> LayerDocument:
        if document.size != self.size:
            raise ClipError(
                f"frame {number} is {_text(document.size)} and the clip is {_text(self.size)}: "
                "all frames of a clip have one size"
            )
        names = names_of(document)
        if names != self.names:
            raise ClipError(
                f"frame {number} has the layers {', '.join(names) or 'none'} and the clip has "
                f"{', '.join(self.names) or 'none'}: all frames of a clip have the same layers in "
                "one order (an empty layer is fully clear)"
            )
        return document


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
