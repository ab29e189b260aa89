"""The layers folder of a clip: one moving picture a layer, and `layers.json` with the rest.

The layers' files are ordinary ones that any program opens. `layers.json` holds the tree of layers
and groups, names, offsets, opacity, blend modes, rate, size and provenance. An offset, an opacity
or a visibility that changes is a list, one entry a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from multiplane.core.clip import ClipError, LayerClip
from multiplane.core.document import Group, Layer, LayerDocument, Pixels
from multiplane.core.family import Progress
from multiplane.io.atomic import replacing_folder, write_bytes
from multiplane.io.bake import mask_in_alpha
from multiplane.io.clip_formats import CLIP_FORMATS, module_of, stream_format
from multiplane.io.errors import CapabilityError, bad_file, baked, decoding
from multiplane.io.limits import DEFAULT_LIMITS, Limits
from multiplane.io.metadata import (
    dumps,
    loads,
    mapping,
    provenance_from_json,
    provenance_to_json,
    role_from_json,
)
from multiplane.io.moving import MovingPicture, Plan, Sink, in_depth, need_depth
from multiplane.io.planes import is_plain_name, slug

INDEX = "layers.json"
_FORMAT, _VERSION = "multiplane clip", 1
_CHANGING = ("offset", "opacity", "visible")
LAYER_CODECS = ("ffv1", "png", "prores", "vp9", "apng", "webp")


def is_clip_folder(path: Path) -> bool:
    """Whether a folder, or a `layers.json`, is that of a clip."""
    file = path if path.name == INDEX else path / INDEX
    if not file.is_file():
        return False
    try:
        return loads(file.read_bytes()).get("format") == _FORMAT
    except (OSError, ValueError):
        return False


def write_folder(
    clip: LayerClip, path: Path, codec: str, crf: int | None, progress: Progress | None
) -> None:
    """Write `clip` into the folder `path`; an older clip folder is replaced as a whole.

    Raises FileExistsError for a folder that holds anything else, ClipError when layers change what
    a folder cannot say, CapabilityError for masks of groups."""
    if codec not in LAYER_CODECS:
        raise ValueError(f"the codec of layers is one of {', '.join(LAYER_CODECS)}, got {codec!r}")
    frames = iter(clip)
    document = next(frames)
    _check(document, path, codec)
    with replacing_folder(path, _is_only_ours) as folder:
        with ExitStack() as files:
            tracks = {
                place: _Track.begin(layer, number, folder, clip, codec, crf, files)
                for number, (place, layer) in enumerate(_layers(document).items())
            }
            shape = _shape(document)
            first, count = document, 0
            while document is not None:
                if _shape(document) != shape:
                    raise ClipError(
                        f"frame {count} has other groups, blend modes or clipped layers than the "
                        "first: a layers folder holds one tree for all frames"
                    )
                for place, layer in _layers(document).items():
                    tracks[place].add(layer, count)
                count += 1
                if progress is not None:
                    progress(count, clip.frames or count, None)
                document = next(frames, None)
        index = {
            "format": _FORMAT,
            "version": _VERSION,
            "size": list(clip.size),
            "fps": str(clip.fps),
            "frames": count,
            "space": first.space,
            "codec": codec,
            "provenance": None if clip.provenance is None else provenance_to_json(clip.provenance),
            "layers": _nodes(first.layers, (), tracks),
        }
        write_bytes(folder / INDEX, dumps(index, indent=1).encode())


def _is_only_ours(folder: Path) -> bool:
    if not is_clip_folder(folder):
        return False
    with decoding(folder / INDEX, "a clip index"):
        names = {INDEX, *_files(loads((folder / INDEX).read_bytes())["layers"])}
    return {each.name for each in folder.iterdir()} <= names


def _files(nodes: list[dict[str, Any]]) -> Iterator[str]:
    for node in nodes:
        if "file" in node:
            yield node["file"]
        yield from _files(node.get("layers", []))


def _layers(document: LayerDocument) -> dict[tuple[int, ...], Layer]:
    return {place: node for place, node in document.walk() if isinstance(node, Layer)}


def _shape(document: LayerDocument) -> list[tuple[Any, ...]]:
    """What must be alike in all frames."""
    return [
        (place, node.name, node.blend, node.clip)
        + ((node.opacity, node.visible) if isinstance(node, Group) else ())
        for place, node in document.walk()
    ]


def _check(document: LayerDocument, path: Path, codec: str) -> None:
    groups = [node.name for _, node in document.walk() if isinstance(node, Group) and node.mask]
    if groups:
        raise CapabilityError(
            f"{path}: a layers folder of a clip holds no masks of groups ({', '.join(groups)}): "
            "apply them first"
        )
    layers = document.leaves()
    told = []
    if masked := [layer.name for layer in layers if layer.mask is not None]:
        told.append(f"layer masks ({', '.join(masked)}), now multiplied into the alpha")
    deep = [layer.name for layer in layers if layer.pixels.dtype != np.uint8]
    if deep and not CLIP_FORMATS[codec].deep:
        told.append(f"more than 8 bits a channel ({', '.join(deep)}), now rounded")
    elif floats := [layer.name for layer in layers if layer.pixels.dtype == np.float32]:
        told.append(f"float32 pixels ({', '.join(floats)}), now rounded to 16 bits")
    if document.space == "linear":
        raise CapabilityError(
            f"{path}: clips are stored sRGB-encoded: convert the linear one first"
        )
    if told:
        baked(f"{path}: a layers folder in {codec} does not hold " + "; ".join(told))


@dataclass
class _Track:
    """One layer being written: its file, and what changes from frame to frame."""

    file: str
    size: tuple[int, int]
    depth: np.dtype[Any]  # of the pixels, in the first frame
    dtype: np.dtype[Any]  # of the file
    sink: Sink
    changing: dict[str, list[Any]] = field(default_factory=lambda: {key: [] for key in _CHANGING})

    @classmethod
    def begin(
        cls,
        layer: Layer,
        number: int,
        folder: Path,
        clip: LayerClip,
        codec: str,
        crf: int | None,
        files: ExitStack,
    ) -> _Track:
        table = CLIP_FORMATS[codec]
        deep = layer.pixels.dtype != np.uint8 and table.deep
        dtype = np.dtype(np.uint16 if deep else np.uint8)
        name = f"{number:02d}-{slug(layer.name)}{table.suffix}"
        target = folder / name if table.suffix else folder / name / "%06d.png"
        plan = Plan(
            layer.size, clip.fps, dtype, clip.frames, layer.name, layer.role, clip.provenance, crf
        )
        sink = files.enter_context(module_of(codec)[1](target, plan))
        return cls(name, layer.size, layer.pixels.dtype, dtype, sink)

    def add(self, layer: Layer, number: int) -> None:
        if layer.size != self.size:
            raise ClipError(
                f"the layer {layer.name!r} is {layer.size[0]} x {layer.size[1]} in frame {number} "
                f"and {self.size[0]} x {self.size[1]} before: a file has one size, so put it on "
                "the canvas first (clip.map(multiplane.core.placing.all_on_canvas))"
            )
        need_depth(layer.pixels, self.depth, f"the layer {layer.name!r}", number)
        self.sink(in_depth(mask_in_alpha(layer), self.dtype))
        self.changing["offset"].append(list(layer.offset))
        self.changing["opacity"].append(layer.opacity)
        self.changing["visible"].append(layer.visible)

    def facts(self) -> dict[str, Any]:
        """`changing`, with a single value for what stays."""
        constant = {key: all(v == vs[0] for v in vs) for key, vs in self.changing.items()}
        kept = {key: vs[0] if constant[key] else vs for key, vs in self.changing.items()}
        return {"file": self.file, "size": list(self.size), "dtype": self.dtype.name, **kept}


def _nodes(
    nodes: tuple[Layer | Group, ...],
    path: tuple[int, ...],
    tracks: Mapping[tuple[int, ...], _Track],
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, node in enumerate(nodes):
        here = (*path, number)
        facts: dict[str, Any] = {"name": node.name, "blend": node.blend, "clip": node.clip}
        if isinstance(node, Layer):
            facts |= {"type": "layer", "role": node.role, "alpha": True, **tracks[here].facts()}
        else:
            facts |= {"type": "group", "opacity": node.opacity, "visible": node.visible}
            facts["layers"] = _nodes(node.layers, here, tracks)
        found.append(facts)
    return found


def read_folder(path: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[str, LayerClip]:
    """The codec of the layers and the clip in the folder `path`, or in that of the `layers.json`
    at `path`.

    Raises FileFormatError for a damaged index, and for a layer's file that is missing, has another
    size or number of frames than the index says, or holds no alpha."""
    folder = path.parent if path.name == INDEX else path
    with decoding(folder / INDEX, "a clip index"):
        index = loads((folder / INDEX).read_bytes())
        if index.get("format") != _FORMAT or index.get("version") != _VERSION:
            raise bad_file(
                folder / INDEX,
                f"says {index.get('format')!r} version {index.get('version')!r}",
                f"this release reads {_FORMAT!r} version {_VERSION}",
            )
        size, frames = (int(index["size"][0]), int(index["size"][1])), int(index["frames"])
        entries = _leaves(index["layers"])
        streams = [_stream(folder, entry, frames, limits) for entry in entries]
        kept = index.get("provenance")
        provenance = None if kept is None else provenance_from_json(kept)
        fps = Fraction(index["fps"])
        blank = [np.zeros((1, 1, 4), np.uint8) for _ in entries]
        first = LayerDocument(size, _built(index["layers"], iter(blank), 0), provenance=provenance)

    def opened(start: int) -> Iterator[LayerDocument]:
        iterators = [stream.open(start) for stream in streams]
        for number, pixels in enumerate(zip(*iterators, strict=True), start=start):
            yield replace(first, layers=_built(index["layers"], iter(pixels), number))

    names = tuple(layer.name for layer in first.leaves())
    codec = ", ".join(sorted({stream.codec for stream in streams}))
    return codec, LayerClip(size, fps, names, opened, frames, provenance)


def _leaves(nodes: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for node in nodes:
        if mapping(node, "a layer")["type"] == "group":
            found += _leaves(node["layers"])
        else:
            found.append(node)
    return found


def _stream(folder: Path, entry: dict[str, Any], frames: int, limits: Limits) -> MovingPicture:
    name, file = entry["name"], entry["file"]
    if not isinstance(file, str) or not is_plain_name(file):
        raise bad_file(
            folder / INDEX,
            f"the layer {name!r} names the file {file!r}, which is not in the folder itself",
            "do not open it; layers lie beside layers.json",
        )
    path = folder / file
    if not path.exists():
        raise bad_file(folder / INDEX, f"the layer {name!r} is in {file!r}, which is missing")
    kind = stream_format(path)
    if kind is None:
        raise bad_file(path, f"is no moving picture, and the layer {name!r} should be in it")
    stream = module_of("ffv1" if kind == "video" else kind)[0](path, limits)
    if entry.get("alpha") and not stream.has_alpha:
        raise bad_file(
            path,
            f"holds no alpha and the layer {name!r} needs it",
            "export it with alpha: ProRes 4444, FFV1, a PNG sequence, or VP9 with alpha",
        )
    if list(stream.size) != entry["size"]:
        raise bad_file(
            path, f"is {stream.size[0]} x {stream.size[1]}, the index says {entry['size']}"
        )
    if stream.frames not in (None, frames):
        raise bad_file(path, f"holds {stream.frames} frames, the index says {frames}")
    for key in _CHANGING:
        value = entry[key]
        changes = isinstance(value, list) and (key != "offset" or isinstance(value[0], list))
        if changes and len(value) != frames:
            raise bad_file(folder / INDEX, f"{key} of {name!r} is not said for all {frames} frames")
    role_from_json(entry.get("role"))
    return stream


def _built(nodes: Any, pixels: Iterator[Pixels], number: int) -> tuple[Layer | Group, ...]:
    """The tree of one frame; the pixels of its layers come in order."""
    found: list[Layer | Group] = []
    for node in nodes:
        shared = {"name": node["name"], "blend": node["blend"], "clip": bool(node["clip"])}
        if node["type"] == "group":
            layers = _built(node["layers"], pixels, number)
            found.append(
                Group(layers=layers, opacity=node["opacity"], visible=node["visible"], **shared)
            )
            continue
        x, y = _at(node["offset"], number, isinstance(node["offset"][0], list))
        found.append(
            Layer(
                pixels=next(pixels),
                offset=(x, y),
                opacity=float(_at(node["opacity"], number, isinstance(node["opacity"], list))),
                visible=_at(node["visible"], number, isinstance(node["visible"], list)),
                role=role_from_json(node.get("role")),
                **shared,
            )
        )
    return tuple(found)


def _at(value: Any, number: int, changes: bool) -> Any:
    return value[number] if changes else value
