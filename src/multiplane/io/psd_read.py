"""Photoshop documents (.psd, .psb): reading, ours and everyone's.

Text, smart objects and shapes come as the pixels Photoshop stored for them; adjustment layers and
effects have none and are left out. Each says so in a BakedWarning.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psd_tools.compression import decode_prediction, decode_rle
from psd_tools.constants import (
    BlendMode,
    ChannelID,
    Clipping,
    ColorMode,
    Compression,
    Resource,
    SectionDivider,
    Tag,
)
from psd_tools.psd import PSD as Container
from psd_tools.psd.layer_and_mask import ChannelData, ChannelDataList, LayerInfo, LayerRecord

from multiplane.core.document import ColorSpace, Coverage, Group, Layer, LayerDocument, Mask, Pixels
from multiplane.core.pixels import full_scale, to_dtype
from multiplane.io import xmp
from multiplane.io.errors import bad_file, baked, decoding
from multiplane.io.icc import parse, space_of, to_srgb
from multiplane.io.limits import DEFAULT_LIMITS, Budget, Limits
from multiplane.io.metadata import loads, mapping, provenance_from_json, role_from_json
from multiplane.io.psd import DTYPES, MODES, STORED

_BLENDS = {mode: name for name, mode in MODES.items()}
_CHANNELS = {ColorMode.RGB: 3, ColorMode.GRAYSCALE: 1}

# What a layer may be beside pixels. "pixels": it comes as the pixels stored for it.
_KINDS = {
    "text": (Tag.TYPE_TOOL_OBJECT_SETTING, Tag.TYPE_TOOL_INFO),
    "a smart object": (
        Tag.SMART_OBJECT_LAYER_DATA1,
        Tag.SMART_OBJECT_LAYER_DATA2,
        Tag.PLACED_LAYER1,
        Tag.PLACED_LAYER2,
    ),
    "a fill": (
        Tag.SOLID_COLOR_SHEET_SETTING,
        Tag.GRADIENT_FILL_SETTING,
        Tag.PATTERN_FILL_SETTING,
        Tag.VECTOR_STROKE_CONTENT_DATA,
    ),
    "an adjustment": (
        Tag.BLACK_AND_WHITE,
        Tag.BRIGHTNESS_AND_CONTRAST,
        Tag.CHANNEL_MIXER,
        Tag.COLOR_BALANCE,
        Tag.COLOR_LOOKUP,
        Tag.CURVES,
        Tag.EXPOSURE,
        Tag.GRADIENT_MAP,
        Tag.HUE_SATURATION,
        Tag.HUE_SATURATION_V4,
        Tag.INVERT,
        Tag.LEVELS,
        Tag.PHOTO_FILTER,
        Tag.POSTERIZE,
        Tag.SELECTIVE_COLOR,
        Tag.THRESHOLD,
        Tag.VIBRANCE,
    ),
}
_LOST = {
    "effects": (
        Tag.EFFECTS_LAYER,
        Tag.OBJECT_BASED_EFFECTS_LAYER_INFO,
        Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V0,
        Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V1,
    ),
    "a vector mask": (Tag.VECTOR_MASK_SETTING1, Tag.VECTOR_MASK_SETTING2),
}


def read(path: Path, limits: Limits = DEFAULT_LIMITS) -> LayerDocument:
    """RGB and grey documents of 8, 16 and 32 bits a channel."""
    budget = Budget(path, limits)
    data = path.read_bytes()
    with decoding(path, "a Photoshop document"):
        _check_header(data, budget)
        return _Reader(path, Container.read(io.BytesIO(data)), budget).document()


def _check_header(data: bytes, budget: Budget) -> None:
    signature, version, _, height, width, depth, mode = struct.unpack_from(">4sH6xHIIHH", data)
    if signature != b"8BPS" or version not in (1, 2):
        raise bad_file(budget.path, "does not begin as a Photoshop document")
    budget.check_size((width, height), "the canvas")
    if depth not in DTYPES or mode not in _CHANNELS:
        named = ColorMode(mode).name.lower() if mode in set(ColorMode) else f"number {mode}"
        raise bad_file(
            budget.path,
            f"is in colour mode {named} at {depth} bits a channel",
            "convert it to RGB or grey, 8, 16 or 32 bits, first",
        )


class _Reader:
    def __init__(self, path: Path, container: Container, budget: Budget):
        self.path = path
        self.budget = budget
        self.container = container
        self.header = container.header
        self.size = (self.header.width, self.header.height)
        self.dtype = DTYPES[self.header.depth]
        self.colors = _CHANNELS[self.header.color_mode]
        profile = container.image_resources.get_data(Resource.ICC_PROFILE)
        self.profile = profile if isinstance(profile, bytes) else None
        found = "srgb" if self.profile is None else space_of(parse(self.profile))
        # Photoshop keeps 32 bits a channel in linear light whatever the profile's curve.
        self.space: ColorSpace = (
            "linear" if found == "linear" or self.header.depth == 32 else "srgb"
        )
        if found != "other" or self.space == "linear":
            self.profile = None
        self.facts = self._facts()

    def _facts(self) -> dict[str, Any]:
        """What our writer left in the XMP packet; empty for a file of another program."""
        packet = self.container.image_resources.get_data(Resource.XMP_METADATA)
        try:
            text = xmp.unwrap(packet) if isinstance(packet, bytes) else None
            facts = {} if text is None else loads(text)
            mapping(facts.get("layers", {}), "layers")
            if "provenance" in facts:
                facts["provenance"] = provenance_from_json(facts["provenance"])
        except ValueError as error:
            baked(f"{self.path}: its multiplane metadata is damaged and left out ({error})")
            return {}
        return facts

    def document(self) -> LayerDocument:
        self.budget.picture(self.size, 4, "the canvas")
        info = self._layer_info()
        if info is not None and info.layer_records:
            layers = self.tree(info)
            self.check_end()
        elif self.facts.get("nodes") == 0:
            layers = ()
        else:
            layers = (self.flat(),)
        return LayerDocument(
            self.size, layers, space=self.space, provenance=self.facts.get("provenance")
        )

    def _layer_info(self) -> LayerInfo | None:
        section = self.container.layer_and_mask_information
        for tag in (Tag.LAYER_16, Tag.LAYER_32):
            if section.tagged_blocks is not None and tag in section.tagged_blocks:
                return section.tagged_blocks.get_data(tag)
        return section.layer_info

    def tree(self, info: LayerInfo) -> tuple[Layer | Group, ...]:
        """Records are a flat list, bottom to top; a group lies between a divider and its own."""
        levels: list[list[Layer | Group]] = [[]]
        for record, channels in zip(info.layer_records, info.channel_image_data, strict=True):
            self.budget.node(len(levels) - 1)
            blocks = record.tagged_blocks
            divider = blocks.get_data(Tag.SECTION_DIVIDER_SETTING)
            divider = blocks.get_data(Tag.NESTED_SECTION_DIVIDER_SETTING, divider)
            kind = SectionDivider.OTHER if divider is None else divider.kind
            mode = record.blend_mode if divider is None else divider.blend_mode or record.blend_mode
            if kind is SectionDivider.BOUNDING_SECTION_DIVIDER:
                levels.append([])
            elif kind is SectionDivider.OTHER:
                layer = self.layer(record, channels)
                levels[-1] += [] if layer is None else [layer]
            elif len(levels) < 2:
                raise bad_file(self.path, f"group {_name(record)!r} ends before it begins")
            else:
                inside = tuple(levels.pop())
                shared = self.shared(record, channels, mode)
                levels[-1].append(Group(layers=inside, **shared))
        if len(levels) != 1:
            raise bad_file(self.path, f"{len(levels) - 1} of its groups have no end")
        return tuple(levels[0])

    def layer(self, record: LayerRecord, channels: ChannelDataList) -> Layer | None:
        name = _name(record)
        kind = next((k for k, tags in _KINDS.items() if _has(record, tags)), None)
        size = record.right - record.left, record.bottom - record.top
        is_empty = size[0] <= 0 or size[1] <= 0
        if is_empty and kind in ("an adjustment", "a fill"):
            baked(f"{self.path}: layer {name!r} is {kind} without pixels of its own: left out")
            return None
        if kind is not None:
            baked(f"{self.path}: layer {name!r} is {kind}: read as the pixels stored for it")
        if is_empty:  # a layer nothing was painted on
            pixels = np.zeros((1, 1, 4), self.dtype)
        else:
            self.budget.picture(size, 4 * self.dtype.itemsize, f"layer {name!r}")
            pixels = self.pixels(_by_id(record, channels), size, name)
        notes = self.notes(record)
        return Layer(
            pixels=self.as_noted(pixels, notes.get("dtype")),
            offset=(record.left, record.top),
            role=self.role(notes, name),
            **self.shared(record, channels, record.blend_mode),
        )

    def shared(
        self, record: LayerRecord, channels: ChannelDataList, mode: BlendMode
    ) -> dict[str, Any]:
        """What layers and groups have in common."""
        name = _name(record)
        is_group = _has(record, (Tag.SECTION_DIVIDER_SETTING, Tag.NESTED_SECTION_DIVIDER_SETTING))
        blend = _BLENDS.get(mode, "normal")
        if mode not in _BLENDS or (blend == "pass-through" and not is_group):
            baked(f"{self.path}: layer {name!r} has the mode {mode.name.lower()}, read as normal")
            blend = "normal"
        for lost, tags in _LOST.items():
            # The pixels stored for a shape are those inside its vector mask already.
            if _has(record, tags) and not (
                lost == "a vector mask" and _has(record, _KINDS["a fill"])
            ):
                baked(f"{self.path}: layer {name!r} has {lost}: left out")
        if record.blending_ranges.composite_ranges not in (None, [(0, 65535), (0, 65535)]):
            baked(f"{self.path}: layer {name!r} blends by tone (blend if): left out")
        notes = self.notes(record)
        opacity = record.opacity / 255
        noted = notes.get("opacity")
        if isinstance(noted, float) and 0 <= noted <= 1 and round(noted * 255) == record.opacity:
            opacity = noted
        fill = record.tagged_blocks.get_data(Tag.BLEND_FILL_OPACITY)
        if isinstance(fill, int) and fill < 255:
            baked(f"{self.path}: the fill opacity of layer {name!r} is made part of its opacity")
            opacity *= fill / 255
        return {
            "name": name,
            "opacity": opacity,
            "blend": blend,
            "visible": record.flags.visible,
            "clip": record.clipping is Clipping.NON_BASE,
            "mask": self.mask(record, _by_id(record, channels), notes),
        }

    def pixels(
        self, channels: dict[ChannelID, ChannelData], size: tuple[int, int], name: str
    ) -> Pixels:
        pixels = np.empty((size[1], size[0], 4), self.dtype)
        for index in range(3):
            channel = channels.get(ChannelID(index if self.colors == 3 else 0))
            if channel is None:
                raise bad_file(self.path, f"layer {name!r} lacks a colour channel")
            pixels[..., index] = self.plane(channel, size)
        alpha = channels.get(ChannelID.TRANSPARENCY_MASK)
        pixels[..., 3] = full_scale(self.dtype) if alpha is None else self.plane(alpha, size)
        return self.in_range(pixels, name)

    def in_range(self, pixels: Pixels, name: str) -> Pixels:
        if pixels.dtype == np.float32 and not ((pixels >= 0) & (pixels <= 1)).all():
            baked(f"{self.path}: layer {name!r} has values beyond 0..1: clipped")
            pixels = np.clip(np.nan_to_num(pixels), 0.0, 1.0)
        return pixels if self.profile is None else to_srgb(pixels, self.profile, self.path)

    def plane(self, channel: ChannelData, size: tuple[int, int]) -> NDArray[Any]:
        """(H, W) of one channel. Unlike psd-tools, which paints it black, damage is an error."""
        width, height = size
        depth = self.header.depth
        length = width * height * depth // 8
        data = channel.data
        if channel.compression is Compression.RLE:
            data = decode_rle(data, width, height, depth, self.header.version)
        elif channel.compression is not Compression.RAW:
            data = zlib.decompressobj().decompress(data, length)
        if len(data) < length:
            raise ValueError(f"a channel of {length:,} bytes holds {len(data):,}")
        if channel.compression is Compression.ZIP_WITH_PREDICTION:
            data = decode_prediction(data, width, height, depth)
        return np.frombuffer(data, STORED[depth], width * height).reshape(height, width)

    def mask(
        self, record: LayerRecord, channels: dict[ChannelID, ChannelData], notes: dict[str, Any]
    ) -> Mask | None:
        data = record.mask_data
        channel = channels.get(ChannelID.USER_LAYER_MASK)
        if data is None or channel is None:
            return None
        if data.parameters is not None:
            baked(f"{self.path}: density and feather of the mask of {_name(record)!r}: left out")
        outside = data.background_color / 255
        size = data.width, data.height
        if 0 in size:  # nothing but what lies outside
            fill = outside * full_scale(self.dtype)
            cover: Coverage = np.full((1, 1), fill if self.dtype.kind == "f" else round(fill))
            cover = cover.astype(self.dtype)
        else:
            self.budget.picture(size, self.dtype.itemsize, f"the mask of {_name(record)!r}")
            cover = self.plane(channel, size).astype(self.dtype)
        return Mask(
            pixels=self.as_noted(cover, notes.get("mask_dtype")),
            offset=(data.left, data.top),
            outside=outside,
            enabled=not data.flags.mask_disabled,
        )

    def flat(self) -> Layer:
        """The merged picture of a document without layers."""
        channels = self.header.channels
        if channels < self.colors:
            raise bad_file(self.path, f"has {channels} channels where {self.colors} are needed")
        self.budget.picture(self.size, channels * self.dtype.itemsize, "the merged picture")
        width, height = self.size
        image = self.container.image_data
        rows = self.plane(ChannelData(image.compression, image.data), (width, height * channels))
        planes = rows.reshape(channels, height, width)
        pixels = np.full((height, width, 4), full_scale(self.dtype), self.dtype)
        for index in range(3):
            pixels[..., index] = planes[index if self.colors == 3 else 0]
        if channels == self.colors + 1:
            pixels[..., 3] = planes[self.colors]
        return Layer("Background", self.in_range(pixels, "Background"))

    def check_end(self) -> None:
        """The merged picture ends the file: one cut short is a file cut short."""
        image, rows = self.container.image_data, self.header.height * self.header.channels
        needed = rows * self.header.width * self.header.depth // 8
        if image.compression is Compression.RLE:
            counts = np.frombuffer(image.data, ">u2" if self.header.version == 1 else ">u4", rows)
            needed = counts.nbytes + int(counts.sum(dtype=np.int64))
        if image.compression in (Compression.RAW, Compression.RLE) and len(image.data) < needed:
            raise bad_file(
                self.path,
                f"is cut short: {needed - len(image.data):,} bytes are missing at its end",
            )

    def notes(self, record: LayerRecord) -> dict[str, Any]:
        notes = self.facts.get("layers", {}).get(str(record.tagged_blocks.get_data(Tag.LAYER_ID)))
        return notes if isinstance(notes, dict) else {}

    def as_noted(self, array: NDArray[Any], dtype: Any) -> NDArray[Any]:
        """In the shallower dtype it was written from, when that still holds every value."""
        if dtype not in ("uint8", "uint16") or np.dtype(dtype).itemsize >= array.dtype.itemsize:
            return array
        shallow = to_dtype(array, np.dtype(dtype))
        return shallow if np.array_equal(to_dtype(shallow, array.dtype), array) else array

    def role(self, notes: dict[str, Any], name: str) -> Any:
        try:
            return role_from_json(notes.get("role"))
        except ValueError as error:
            baked(f"{self.path}: layer {name!r}: {error}; left out")
            return None


def _name(record: LayerRecord) -> str:
    return record.tagged_blocks.get_data(Tag.UNICODE_LAYER_NAME, record.name)


def _has(record: LayerRecord, tags: tuple[Tag, ...]) -> bool:
    return any(tag in record.tagged_blocks for tag in tags)


def _by_id(record: LayerRecord, channels: ChannelDataList) -> dict[ChannelID, ChannelData]:
    return {info.id: data for info, data in zip(record.channel_info, channels, strict=True)}
