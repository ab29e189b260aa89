"""What models make: `GeneratedDocument`, which remembers its model, and `GeneratedClip`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from multiplane.core.clip import LayerClip
from multiplane.core.document import Layer, LayerDocument

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from multiplane.core.family import Progress
    from multiplane.engine.document_actions import ActionSettings
    from multiplane.engine.model import Model
    from multiplane.engine.pictures import Picture


@dataclass(frozen=True, eq=False)
class GeneratedDocument(LayerDocument):
    """A `LayerDocument` with the model at hand, so that it can be worked on further."""

    model: Model | None = field(default=None, repr=False)

    @classmethod
    def of(cls, document: LayerDocument, model: Model) -> GeneratedDocument:
        """`document` with `model` beside it; the layers are the same objects."""
        own = {each.name: getattr(document, each.name) for each in fields(LayerDocument)}
        return cls(**own, model=model)

    def add(
        self, prompt: str, progress: Progress | None = None, **settings: Unpack[ActionSettings]
    ) -> GeneratedDocument:
        """`Model.add` to this document."""
        return self._own_model().add(self, prompt, progress, **settings)

    def regenerate(
        self,
        layer: str | Layer,
        prompt: str | None = None,
        progress: Progress | None = None,
        **settings: Unpack[ActionSettings],
    ) -> GeneratedDocument:
        """`Model.regenerate` on this document."""
        return self._own_model().regenerate(self, layer, prompt, progress, **settings)

    def inpaint(
        self,
        layer: str | Layer,
        mask: Picture,
        prompt: str | None = None,
        progress: Progress | None = None,
        **settings: Unpack[ActionSettings],
    ) -> GeneratedDocument:
        """`Model.inpaint` on this document."""
        return self._own_model().inpaint(self, layer, mask, prompt, progress, **settings)

    def save(self, *paths: str | Path) -> None:
        """Write the document to every path; the suffix says the format."""
        save(self, paths)

    def image(self) -> Image.Image:
        """What the document shows, as a Pillow image."""
        from multiplane.core.composite import composite_u8

        return Image.fromarray(composite_u8(self), "RGBA")

    def _own_model(self) -> Model:
        if self.model is None:
            raise ValueError("this document has no model at hand: use Model.add(document, ...)")
        return self.model


@dataclass(frozen=True, eq=False)
class GeneratedClip(LayerClip):
    """A `LayerClip` that a model made; all of its frames are at hand."""

    @classmethod
    def made(cls, clip: LayerClip) -> GeneratedClip:
        """`clip` with what this class adds."""
        return cls(**{each.name: getattr(clip, each.name) for each in fields(LayerClip)})

    def save(self, *paths: str | Path) -> None:
        """Write the clip to every path; the suffix says the format (`multiplane.write_clip`)."""
        from multiplane.io.clips import write_clip

        for path in paths:
            write_clip(self, path)


def save(document: LayerDocument, paths: Iterable[str | Path]) -> None:
    from multiplane.io.registry import write

    for path in paths:
        write(document, Path(path))
