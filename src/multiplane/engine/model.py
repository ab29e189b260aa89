"""`load` and `Model`: the whole interface in Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from multiplane.core.clip import Rate
from multiplane.core.document import Layer, LayerDocument
from multiplane.core.family import Family, Progress
from multiplane.core.request import LayerRequest, RequestError, Task
from multiplane.engine import document_actions as actions
from multiplane.engine.entries import load_family
from multiplane.engine.generate import run_request
from multiplane.engine.generated import GeneratedClip, GeneratedDocument
from multiplane.engine.pictures import Picture
from multiplane.engine.planes import (
    UNSAID,
    ClipSettings,
    PlaneInput,
    Settings,
    Unsaid,
    build_request,
    check_prompt,
)
from multiplane.engine.result import clip_of, document_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


def load(name: str = "tiny", path: str | Path | None = None) -> Model:
    """The model of the family `name`, with its own weights or those at `path`.

    Raises RequestError for an unknown name, MissingExtra with the install command when a package is
    missing, FileNotFoundError or ValueError for weights that are absent or broken."""
    return Model(load_family(name, None if path is None else Path(path)))


@dataclass(frozen=True, eq=False)
class Model:
    """A family with its weights loaded."""

    family: Family

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def tasks(self) -> frozenset[Task]:
        """The rows of the task table these weights can do."""
        return self.family.tasks

    def request(
        self,
        foreground: PlaneInput | Sequence[PlaneInput] | Unsaid = UNSAID,
        background: PlaneInput | Unsaid = UNSAID,
        composite: PlaneInput | Unsaid = UNSAID,
        **settings: Unpack[ClipSettings],
    ) -> LayerRequest:
        """The request that `generate` would run.

        Each plane: a `str` is a prompt, a `Path` a file, a Pillow image or an array pixels, a
        `LayerClip` or an array (T, H, W, 4) frames, `True` wanted without a prompt, `None` or
        `False` left out. foreground may be a list, the first
        nearest to the background. A plane that is not mentioned is wanted too when the other two
        are there and one of them is wanted. settings: see `Settings` and `ClipSettings`."""
        return build_request(self.name, foreground, background, composite, settings)

    @overload
    def generate(
        self,
        foreground: PlaneInput | Sequence[PlaneInput] | Unsaid = UNSAID,
        background: PlaneInput | Unsaid = UNSAID,
        composite: PlaneInput | Unsaid = UNSAID,
        *,
        count: Literal[1] = 1,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> GeneratedDocument: ...

    @overload
    def generate(
        self,
        foreground: PlaneInput | Sequence[PlaneInput] | Unsaid = UNSAID,
        background: PlaneInput | Unsaid = UNSAID,
        composite: PlaneInput | Unsaid = UNSAID,
        *,
        count: int,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> GeneratedDocument | list[GeneratedDocument]: ...

    @overload
    def generate(
        self,
        foreground: PlaneInput | Sequence[PlaneInput] | Unsaid = UNSAID,
        background: PlaneInput | Unsaid = UNSAID,
        composite: PlaneInput | Unsaid = UNSAID,
        *,
        frames: int,
        fps: Rate | None = None,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> GeneratedDocument | GeneratedClip: ...

    def generate(
        self,
        foreground: PlaneInput | Sequence[PlaneInput] | Unsaid = UNSAID,
        background: PlaneInput | Unsaid = UNSAID,
        composite: PlaneInput | Unsaid = UNSAID,
        *,
        count: int = 1,
        progress: Progress | None = None,
        **settings: Any,
    ) -> GeneratedDocument | GeneratedClip | list[Any]:
        """Make a layered picture; a list of `count` with seeds counting up when there are several.
        With frames above 1, or a given plane that is a clip, a `GeneratedClip`.

        Planes and settings as for `request`. Raises RequestError for what cannot be understood or
        done."""
        if not isinstance(count, int) or count < 1:
            raise RequestError(f"count must be at least 1, got {count!r}")
        request = self.request(foreground, background, composite, **settings)
        run = self.run if request.frames == 1 else self.run_clip
        if count == 1:
            return run(request, progress)
        return [
            run(replace(request, seed=request.seed + number), progress) for number in range(count)
        ]

    def run(self, request: LayerRequest, progress: Progress | None = None) -> GeneratedDocument:
        """Run a request for a still that is at hand, from JSON for one. Its `model` must be this
        one. Raises RequestError as `generate`, and for several frames: those are `run_clip`'s."""
        if request.frames != 1:
            raise RequestError(
                f"the request asks for {request.frames} frames and `run` makes a still: use "
                "`run_clip`"
            )
        outcome = run_request(self.family, self._own(request), progress)
        return GeneratedDocument.of(document_of(self.family, outcome), self)

    def run_clip(self, request: LayerRequest, progress: Progress | None = None) -> GeneratedClip:
        """Run a request for several frames that is at hand; else as `run`."""
        if request.frames == 1:
            raise RequestError("the request asks for one frame, which is a still: use `run`")
        outcome = run_request(self.family, self._own(request), progress)
        return GeneratedClip.made(clip_of(self.family, outcome))

    def _own(self, request: LayerRequest) -> LayerRequest:
        if request.model != self.name:
            raise RequestError(
                f"the request is for the model {request.model!r} and this is {self.name!r}: load "
                "that one, or change the request"
            )
        return request

    def add(
        self,
        document: LayerDocument,
        prompt: str,
        progress: Progress | None = None,
        **settings: Unpack[actions.ActionSettings],
    ) -> GeneratedDocument:
        """`document` with one more foreground on top, made for what is there.

        Every layer that was there is the same object afterwards."""
        words = check_prompt(prompt)
        added = actions.add(self.family, document, words, progress, settings)
        return GeneratedDocument.of(added, self)

    def regenerate(
        self,
        document: LayerDocument,
        layer: str | Layer,
        prompt: str | None = None,
        progress: Progress | None = None,
        **settings: Unpack[actions.ActionSettings],
    ) -> GeneratedDocument:
        """`document` with one layer made again for the others; their stored bytes stay.

        layer: its name, or itself. prompt: None takes the one it was made from, "" none at all."""
        remade = actions.regenerate(self.family, document, layer, prompt, progress, settings)
        return GeneratedDocument.of(remade, self)

    def inpaint(
        self,
        document: LayerDocument,
        layer: str | Layer,
        mask: Picture,
        prompt: str | None = None,
        progress: Progress | None = None,
        **settings: Unpack[actions.ActionSettings],
    ) -> GeneratedDocument:
        """`document` with one layer painted anew where `mask` is white, its alpha too.

        mask: of the document's size. Where it is black the layer's stored values stay, and so does
        every other layer. prompt: None takes the one the layer was made from."""
        painted = actions.inpaint(self.family, document, layer, mask, prompt, progress, settings)
        return GeneratedDocument.of(painted, self)
