"""What is shown of an item for each question, and in which order."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TypeAlias

from PIL import Image

from multiplane.data.browse import Item
from multiplane.data.pictures import UNREADABLE

# name -> what makes its bytes
Views: TypeAlias = Mapping[str, Callable[[], bytes]]


def views_of(item: Item, question: str) -> Views:
    """The pictures of an item, left to right. Planes that are not stored are derived: the mask is
    the alpha of the foreground, the cut-out the picture under its mask.

    Raises ValueError when the item lacks what the question needs."""
    planes = {name: place.read for name, place in item.planes.items()}
    if question == "pick":
        return planes
    whole = planes.get("composite") or planes.get("picture")
    foreground, mask = planes.get("foreground"), planes.get("mask")
    if whole is None:
        raise _lacking(item, question, "a composite or plain picture")
    if mask is None and foreground is not None:
        mask = _derived(alpha_of, foreground)
    if question == "completion":
        background = planes.get("background")
        if background is None:
            raise _lacking(item, question, "a background")
        marked = {} if mask is None else {"filled": _derived(marked_by, whole, mask)}
        return {"background": background, "picture": whole, **marked}
    if mask is None:
        raise _lacking(item, question, "a mask or foreground")
    cut = foreground or _derived(cut_by, whole, mask)
    return {"picture": whole, "cut-out": cut, "mask": mask}


def _lacking(item: Item, question: str, needed: str) -> ValueError:
    return ValueError(
        f"{item.key} holds {', '.join(item.planes)}; to answer {question!r} it needs {needed}"
    )


def _derived(make: Callable[..., bytes], *parts: Callable[[], bytes]) -> Callable[[], bytes]:
    """What `make` makes of these planes. Raises OSError when one cannot be read."""

    def made() -> bytes:
        try:
            return make(*(part() for part in parts))
        except UNREADABLE as error:
            raise OSError(f"a picture is damaged: {error}") from error

    return made


def alpha_of(foreground: bytes) -> bytes:
    """The alpha of a picture as a grey one."""
    return _png(_open(foreground).convert("RGBA").getchannel("A"))


def cut_by(picture: bytes, mask: bytes) -> bytes:
    """The picture with the mask as its alpha."""
    whole = _open(picture).convert("RGB")
    whole.putalpha(_mask(mask, whole.size))
    return _png(whole)


def marked_by(picture: bytes, mask: bytes) -> bytes:
    """The picture with what the mask holds in red: the part that had to be filled."""
    whole = _open(picture).convert("RGB")
    red = Image.blend(whole, Image.new("RGB", whole.size, (255, 0, 0)), 0.7)
    return _png(Image.composite(red, whole, _mask(mask, whole.size)))


def _mask(data: bytes, size: tuple[int, int]) -> Image.Image:
    mask = _open(data).convert("L")
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
