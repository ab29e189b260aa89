"""Photoshop documents (.psd, .psb): writing. Reading is in `multiplane.io.psd_read`.

psd-tools packs the bytes; which records to pack is decided here, because its own editing calls
turn alpha into masks, refuse Unicode names and render the preview with another compositor.

Where PSD is coarser than a document (opacity in 255 steps, one depth for all layers) or has no
word (roles, provenance), the exact value lies in the XMP packet, by layer id. The reader uses it
only where it agrees with the record, so a layer changed in another program reads as changed.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
from psd_tools.psd.color_mode_data import HDRT_DEFAULT, ColorModeData
from psd_tools.psd.header import FileHeader
from psd_tools.psd.image_data import ImageData
from psd_tools.psd.image_resources import ImageResource, ImageResources, VersionInfo
from psd_tools.psd.layer_and_mask import (
    ChannelData,
    ChannelDataList,
    ChannelImageData,
    ChannelInfo,
    GlobalLayerMaskInfo,
    LayerAndMaskInformation,
    LayerFlags,
    LayerInfo,
    LayerInfoBlock,
    LayerRecord,
    LayerRecords,
    MaskData,
    MaskFlags,
)
from psd_tools.psd.tagged_blocks import TaggedBlock, TaggedBlocks

from multiplane.core.blend import BLEND_MODES
from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import Coverage, Group, Layer, LayerDocument, Mask
from multiplane.core.pixels import to_dtype, to_float
from multiplane.io import xmp
from multiplane.io.atomic import replacing
from multiplane.io.bake import bounds, spread
from multiplane.io.capabilities import PSD, check, deepest
from multiplane.io.errors import CapabilityError
from multiplane.io.icc import LINEAR_PROFILE, SRGB_PROFILE
from multiplane.io.metadata import dumps, provenance_to_json

# Photoshop's name for each of our modes; "pass-through" is for groups alone.
MODES = {name: BlendMode[name.upper().replace("-", "_")] for name in [*BLEND_MODES, "pass-through"]}
DTYPES = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16), 32: np.dtype(np.float32)}
STORED = {8: ">u1", 16: ">u2", 32: ">f4"}
# Runs at 8 bits and deflated differences at 16, as Photoshop packs. At 32 bits it deflates
# differences too, which ImageMagick cannot read: deflate alone, which every reader knows.
_PACKING = {8: Compression.RLE, 16: Compression.ZIP_WITH_PREDICTION, 32: Compression.ZIP}
_COLOR_CHANNELS = (ChannelID.CHANNEL_0, ChannelID.CHANNEL_1, ChannelID.CHANNEL_2)
_LARGEST_SIDE, _LARGEST_FILE = 30_000, 2 << 30  # of a .psd; a .psb may be larger
_END_OF_GROUP = "</Layer group>"


def write(document: LayerDocument, path: Path) -> None:
    """Every layer at the depth of the deepest: 8, 16, or (linear documents only) 32 bits."""
    check(document, path, PSD)
    version = 2 if path.suffix.lower() == ".psb" else 1
    width, height = document.size
    boxes = [(0, 0, width, height), *(box for _, node in document.walk() for box in _boxes(node))]
    if any(abs(edge) >= 1 << 31 for box in boxes for edge in box):
        raise CapabilityError(f"{path}: a layer lies beyond two billion pixels: move it nearer")
    if version == 1 and max(max(r - x, b - y) for x, y, r, b in boxes) > _LARGEST_SIDE:
        raise CapabilityError(
            f"{path}: a .psd holds pictures of at most {_LARGEST_SIDE} pixels a side: "
            "save as .psb, or make it smaller"
        )
    header = FileHeader(
        version=version,
        channels=4,
        height=height,
        width=width,
        depth=_depth(document),
        color_mode=ColorMode.RGB,
    )
    records = _Records(header)
    records.add(document.layers)
    container = Container(
        header=header,
        color_mode_data=ColorModeData(HDRT_DEFAULT if header.depth == 32 else b""),
        image_resources=_resources(document, records),
        layer_and_mask_information=_layer_section(header, records),
        image_data=_preview(document, header),
    )
    with replacing(path) as temporary:
        with temporary.open("xb") as file:
            container.write(file)
        if version == 1 and temporary.stat().st_size > _LARGEST_FILE:
            raise CapabilityError(f"{path}: it came to over 2 GB, too much for .psd: save as .psb")


def _depth(document: LayerDocument) -> int:
    deep = deepest(*(node for _, node in document.walk())).itemsize
    return 16 if deep == 4 and document.space == "srgb" else 8 * deep


def _boxes(node: Layer | Group) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of what a node stores: its pixels, its mask."""
    boxes = [] if isinstance(node, Group) else [bounds(node) or (0, 0, 0, 0)]
    if node.mask is not None:
        (height, width), (x, y) = node.mask.pixels.shape, node.mask.offset
        boxes.append((x, y, x + width, y + height))
    return boxes


class _Records:
    """The flat list of layer records that a PSD holds in place of a tree, bottom to top."""

    def __init__(self, header: FileHeader):
        self.header = header
        self.dtype = DTYPES[header.depth]
        self.records: list[LayerRecord] = []
        self.channels: list[ChannelDataList] = []
        self.notes: dict[str, dict[str, Any]] = {}  # what the records cannot say, by layer id
        self._ids = count(1)

    def add(self, nodes: tuple[Layer | Group, ...]) -> None:
        for node in nodes:
            if isinstance(node, Group):
                self._add_divider()
                self.add(node.layers)
                self._add(node, (0, 0, 0, 0), dict.fromkeys(_group_channels()))
            else:
                pixels = to_dtype(node.pixels, self.dtype)
                planes = {ChannelID.TRANSPARENCY_MASK: pixels[..., 3]}
                planes |= {channel: pixels[..., i] for i, channel in enumerate(_COLOR_CHANNELS)}
                self._add(node, bounds(node) or (0, 0, 0, 0), planes)

    def _add(
        self,
        node: Layer | Group,
        box: tuple[int, int, int, int],
        planes: dict[ChannelID, Any],
    ) -> None:
        layer_id = next(self._ids)
        if notes := self._notes_of(node):
            self.notes[str(layer_id)] = notes
        mask = None
        if node.mask is not None:
            stored = _storable(node.mask, node)
            planes[ChannelID.USER_LAYER_MASK] = to_dtype(stored.pixels, self.dtype)
            mask = _mask_data(stored)
        tags = TaggedBlocks()
        tags.set_data(Tag.UNICODE_LAYER_NAME, node.name)
        tags.set_data(Tag.LAYER_ID, layer_id)
        blend = MODES[node.blend]
        if isinstance(node, Group):
            tags.set_data(Tag.SECTION_DIVIDER_SETTING, SectionDivider.OPEN_FOLDER, b"8BIM", blend)
            blend = BlendMode.NORMAL if blend is BlendMode.PASS_THROUGH else blend
        left, top, right, bottom = box
        record = LayerRecord(
            top=top,
            left=left,
            bottom=bottom,
            right=right,
            blend_mode=blend,
            opacity=round(node.opacity * 255),
            clipping=Clipping.NON_BASE if node.clip else Clipping.BASE,
            flags=LayerFlags(visible=node.visible),
            mask_data=mask,
            name=node.name.encode("mac-roman", "replace")[:63].decode("mac-roman"),
            tagged_blocks=tags,
        )
        self._append(record, planes)

    def _add_divider(self) -> None:
        """The record below a group's layers, which tells where the group begins."""
        tags = TaggedBlocks()
        tags.set_data(Tag.SECTION_DIVIDER_SETTING, SectionDivider.BOUNDING_SECTION_DIVIDER)
        tags.set_data(Tag.UNICODE_LAYER_NAME, _END_OF_GROUP)
        record = LayerRecord(name=_END_OF_GROUP, tagged_blocks=tags)
        self._append(record, dict.fromkeys(_group_channels()))

    def _append(self, record: LayerRecord, planes: dict[ChannelID, Any]) -> None:
        channels = [ChannelData() if p is None else self._packed(p) for p in planes.values()]
        record.channel_info = [
            ChannelInfo(channel, len(data.data) + 2)
            for channel, data in zip(planes, channels, strict=True)
        ]
        self.records.append(record)
        self.channels.append(ChannelDataList(channels))  # pyright: ignore[reportCallIssue]

    def _packed(self, plane: NDArray[Any]) -> ChannelData:
        depth = self.header.depth
        channel = ChannelData(_PACKING[depth])
        height, width = plane.shape
        channel.set_data(stored_bytes(plane, depth), width, height, depth, self.header.version)
        return channel

    def _notes_of(self, node: Layer | Group) -> dict[str, Any]:
        notes: dict[str, Any] = {}
        if round(node.opacity * 255) / 255 != node.opacity:
            notes["opacity"] = node.opacity
        if isinstance(node, Layer):
            if node.pixels.dtype.itemsize < self.dtype.itemsize:
                notes["dtype"] = node.pixels.dtype.name
            if node.role is not None:
                notes["role"] = node.role
        if node.mask is not None and node.mask.pixels.dtype.itemsize < self.dtype.itemsize:
            notes["mask_dtype"] = node.mask.pixels.dtype.name
        return notes


def _group_channels() -> tuple[ChannelID, ...]:
    return (ChannelID.TRANSPARENCY_MASK, *_COLOR_CHANNELS)


def _storable(mask: Mask, node: Layer | Group) -> Mask:
    """The mask with a coverage of 0 or 1 beyond its pixels, grown over its node where it had
    another: the picture stays the same."""
    if mask.outside in (0.0, 1.0):
        return mask
    height, width = mask.pixels.shape
    x, y = mask.offset
    box = bounds(node) or (x, y, x, y)
    window = (min(x, box[0]), min(y, box[1]), max(x + width, box[2]), max(y + height, box[3]))
    return replace(spread(mask, window), outside=0.0)


def _mask_data(mask: Mask) -> MaskData:
    height, width = mask.pixels.shape
    left, top = mask.offset
    return MaskData(
        top=top,
        left=left,
        bottom=top + height,
        right=left + width,
        background_color=255 if mask.outside else 0,
        flags=MaskFlags(mask_disabled=not mask.enabled),
    )


def stored_bytes(plane: NDArray[Any], depth: int) -> bytes:
    """(H, W) of the depth's dtype as the big-endian bytes of a channel."""
    return plane.astype(STORED[depth]).tobytes()


def _resources(document: LayerDocument, records: _Records) -> ImageResources:
    facts: dict[str, Any] = {
        "format": "multiplane psd",
        "version": 1,
        "nodes": len(records.records),
        "layers": records.notes,
    }
    if document.provenance is not None:
        facts["provenance"] = provenance_to_json(document.provenance)
    version = VersionInfo(has_composite=True, writer="multiplane", reader="multiplane")
    profile = LINEAR_PROFILE if document.space == "linear" else SRGB_PROFILE
    resources: dict[Resource, Any] = {
        Resource.VERSION_INFO: version,
        Resource.ICC_PROFILE: profile,
        Resource.XMP_METADATA: xmp.wrap(dumps(facts)),
    }
    items = [(key, ImageResource(key=key, data=data)) for key, data in resources.items()]
    return ImageResources(items)  # pyright: ignore[reportCallIssue]


def _layer_section(header: FileHeader, records: _Records) -> LayerAndMaskInformation:
    """The layers, where Photoshop looks for them: in a block of their own above 8 bits.

    The count is negative: the preview's fourth channel is its transparency, not a spare alpha."""
    kind = LayerInfo if header.depth == 8 else LayerInfoBlock
    layers = kind(
        layer_count=-len(records.records),
        layer_records=LayerRecords(records.records),  # pyright: ignore[reportCallIssue]
        channel_image_data=ChannelImageData(records.channels),  # pyright: ignore[reportCallIssue]
    )
    section = LayerAndMaskInformation(layers, GlobalLayerMaskInfo(), TaggedBlocks())
    if header.depth == 8 or not records.records:
        return section
    tags = {
        16: (Tag.SAVING_MERGED_TRANSPARENCY16, Tag.LAYER_16),
        32: (Tag.SAVING_MERGED_TRANSPARENCY32, Tag.LAYER_32),
    }
    merged, block = tags[header.depth]
    blocks = TaggedBlocks()
    blocks.set_data(merged)
    blocks[block] = TaggedBlock(key=block, data=layers)  # pyright: ignore[reportArgumentType]
    return LayerAndMaskInformation(LayerInfo(), GlobalLayerMaskInfo(), blocks)


def _preview(document: LayerDocument, header: FileHeader) -> ImageData:
    """The merged picture, by our own compositor, on white as Photoshop mattes it."""
    # A .psd counts the packed bytes of a row in 16 bits; the worst row grows by 1 in 128.
    longest_row = header.width * header.depth // 8 * 129 // 128 + 1
    fits = header.version == 2 or longest_row < 1 << 16
    data = ImageData(compression=Compression.RLE if fits else Compression.RAW)
    data.set_data([stored_bytes(p, header.depth) for p in _matted(document, header)], header)
    return data


def _matted(document: LayerDocument, header: FileHeader) -> list[Coverage]:
    if header.depth == 8 and document.space == "srgb":
        picture = composite_u8(document)
    else:
        picture = composite(document)
    alpha = picture[..., 3]
    if picture.dtype == np.uint8 and alpha.min() == 255:
        return [picture[..., c] for c in range(4)]
    share = to_float(alpha)
    matted = [to_float(picture[..., c]) * share + (1.0 - share) for c in range(3)]
    return [to_dtype(plane, DTYPES[header.depth]) for plane in [*matted, share]]
