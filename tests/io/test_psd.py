"""Photoshop documents against other readers: psd-tools' own calls, and ImageMagick."""

from __future__ import annotations

import io as bytes_io
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage
from psd_tools.constants import BlendMode, Compression, Resource
from psd_tools.psd import PSD as Container

from io_documents import assert_same, layer_of, random_array
from multiplane import io
from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import Group, Layer, LayerDocument, Mask, Provenance
from multiplane.core.pixels import to_dtype
from multiplane.io import xmp
from multiplane.io.psd import MODES

IDENTIFY = Path("/usr/bin/identify")  # ImageMagick's; there are others of that name
needs_imagemagick = pytest.mark.skipif(not IDENTIFY.exists(), reason="ImageMagick is not installed")

MASK = Mask(random_array(np.random.default_rng(2), (4, 9), np.uint8), (-2, 3), outside=1.0)
SCENE = LayerDocument(
    (40, 30),
    (
        layer_of(40, 30, seed=1, name="background", role="background"),
        Group(
            "组 🎈",
            (
                layer_of(
                    8, 9, seed=2, name="图层 🍎", opacity=0.3, blend="multiply", offset=(-3, 25)
                ),
                layer_of(6, 6, seed=3, name="glow", clip=True, blend="linear-dodge", mask=MASK),
            ),
            opacity=0.5,
            blend="screen",
        ),
        Group("through", (layer_of(50, 44, name="hidden", visible=False, offset=(-7, -9)),)),
    ),
    provenance=Provenance("tiny", "0.1", 7, {"prompt": "a red apple"}),
)


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("psd") / "scene.psd"
    io.write(SCENE, path)
    return path


def test_psd_tools_sees_the_same_document(scene_file: Path) -> None:
    psd = PSDImage.open(scene_file)
    assert psd.size == (40, 30)
    background, group, through = psd
    assert [layer.name for layer in psd] == ["background", "组 🎈", "through"]
    assert (group.blend_mode, group.opacity) == (BlendMode.SCREEN, 128)
    assert through.blend_mode == BlendMode.PASS_THROUGH
    apple, glow = group  # pyright: ignore[reportGeneralTypeIssues]
    assert (apple.name, apple.opacity, apple.blend_mode) == ("图层 🍎", 76, BlendMode.MULTIPLY)
    assert (apple.offset, apple.size) == ((-3, 25), (8, 9))
    assert glow.clipping
    assert (glow.mask.bbox, glow.mask.background_color) == ((-2, 3, 7, 7), 255)
    np.testing.assert_array_equal(np.asarray(glow.mask.topil()), MASK.pixels)
    assert not through[0].visible  # pyright: ignore[reportIndexIssue]
    for layer in psd.descendants():
        if not layer.is_group():
            np.testing.assert_array_equal(
                np.asarray(layer.topil(apply_icc=False)), SCENE.find(layer.name).pixels
            )
    assert psd.is_updated() is False
    assert background.kind == "pixel"


def test_layer_names_are_readable_without_unicode_too(scene_file: Path) -> None:
    container = Container.read(bytes_io.BytesIO(scene_file.read_bytes()))
    info = container.layer_and_mask_information.layer_info
    assert info is not None
    assert "background" in [record.name for record in info.layer_records]
    assert info.layer_count < 0  # the preview's fourth channel is transparency


@pytest.mark.parametrize("space", ["srgb", "linear"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_preview_is_our_composite_on_white(dtype: str, space: Any, tmp_path: Path) -> None:
    base = layer_of(12, 9, seed=5)
    layers = (
        Layer("a", to_dtype(base.pixels, np.dtype(dtype)), opacity=0.8),
        layer_of(12, 9, np.dtype(dtype), seed=6, blend="hard-light"),
    )
    document = LayerDocument((12, 9), layers, space)
    io.write(document, tmp_path / "a.psd")
    container = Container.read(bytes_io.BytesIO((tmp_path / "a.psd").read_bytes()))
    planes = container.image_data.get_data(container.header)
    stored = [np.frombuffer(plane, ">u1" if dtype == "uint8" else ">u2") for plane in planes]
    shown = np.stack(stored, axis=-1).reshape(9, 12, 4) / np.iinfo(dtype).max
    truth = composite(document)
    alpha = truth[..., 3:]
    np.testing.assert_allclose(shown[..., 3:], alpha, atol=0.51 / 255)
    np.testing.assert_allclose(shown[..., :3], truth[..., :3] * alpha + 1 - alpha, atol=1.1 / 255)
    unmatted = np.asarray(PSDImage.open(tmp_path / "a.psd").topil())
    solid = (alpha > 0.5)[..., 0]
    if space == "srgb":
        assert np.abs(unmatted[solid].astype(int) - composite_u8(document)[solid]).max() <= 2


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_blend_mode_has_photoshops_key(mode: str, tmp_path: Path) -> None:
    node: Layer | Group = layer_of(2, 2, blend=mode) if mode != "pass-through" else Group("g", ())
    io.write(LayerDocument((2, 2), (layer_of(2, 2), node)), tmp_path / "a.psd")
    back = PSDImage.open(tmp_path / "a.psd")[1]
    assert back.blend_mode.name.lower().replace("_", "-") == mode


def run(*command: Any) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@needs_imagemagick
def test_imagemagick_lists_the_layers(scene_file: Path) -> None:
    listing = run(IDENTIFY, "-format", "%l|%wx%h|%X%Y|%[compose]\n", scene_file).splitlines()
    assert listing[0].split("|")[1] == "40x30"  # the merged preview
    assert [line.split("|", 1)[1] for line in listing[1:]] == [
        "40x30|+0+0|Over",
        "8x9|-3+25|Multiply",
        "6x6|+0+0|LinearDodge",
        "50x44|-7-9|None",  # hidden
    ]
    assert listing[1].startswith("background|")


@needs_imagemagick
@pytest.mark.parametrize(
    ("dtype", "space"), [("uint8", "srgb"), ("uint16", "srgb"), ("float32", "linear")]
)
def test_imagemagick_decodes_the_same_pixels(dtype: str, space: Any, tmp_path: Path) -> None:
    layer = layer_of(21, 13, np.dtype(dtype), seed=8)
    io.write(LayerDocument((21, 13), (layer,), space), tmp_path / "a.psd")
    convert = IDENTIFY.with_name("convert")
    run(convert, f"{tmp_path / 'a.psd'}[1]", "-strip", "-depth", 16, f"RGBA:{tmp_path / 'a.raw'}")
    decoded = np.fromfile(tmp_path / "a.raw", np.uint16).reshape(13, 21, 4).astype(int)
    truth = to_dtype(layer.pixels, np.dtype(np.uint16)).astype(int)
    assert np.abs(decoded - truth).max() <= 1


def test_our_exact_values_yield_to_a_change_from_outside(scene_file: Path, tmp_path: Path) -> None:
    """Opacity 0.3 is kept exactly, until another program sets another one."""
    assert io.read(scene_file).find("图层 🍎").opacity == 0.3
    psd = PSDImage.open(scene_file)
    apple = psd[1][0]  # pyright: ignore[reportIndexIssue]
    apple.opacity = 200
    apple.name = "pear"
    psd.save(tmp_path / "changed.psd")
    back = io.read(tmp_path / "changed.psd")
    assert back.find("pear").opacity == 200 / 255
    assert back.find("background").role == "background"
    assert back.provenance == SCENE.provenance


def test_a_document_written_by_psd_tools_is_read(tmp_path: Path) -> None:
    pixels = layer_of(20, 10, seed=3).pixels
    psd = PSDImage.new("RGBA", (20, 10))
    layer = psd.create_pixel_layer(Image.fromarray(pixels), "one", top=2, left=-1, opacity=100)
    layer.create_mask(Image.new("L", (5, 5), 77))
    psd.create_group([layer], "folder", blend_mode=BlendMode.NORMAL)
    psd.save(tmp_path / "a.psd")
    document = io.read(tmp_path / "a.psd")
    (group,) = document.layers
    assert isinstance(group, Group)
    one = document.find("one")
    assert (one.offset, one.opacity, group.blend) == ((-1, 2), 100 / 255, "normal")
    np.testing.assert_array_equal(one.pixels, pixels)
    assert one.mask is not None
    assert (one.mask.pixels == 77).all()


@pytest.mark.parametrize(
    "packing", [Compression.RAW, Compression.ZIP, Compression.ZIP_WITH_PREDICTION]
)
@pytest.mark.parametrize("depth", [8, 16, 32])
def test_every_packing_is_read(packing: Compression, depth: Any, tmp_path: Path) -> None:
    psd = PSDImage.new("RGBA", (7, 5), depth=depth)
    image = Image.fromarray(layer_of(7, 5).pixels)
    psd.create_pixel_layer(image, "x", compression=packing)
    psd.save(tmp_path / "a.psd")
    (layer,) = io.read(tmp_path / "a.psd").leaves()
    assert layer.pixels.dtype.itemsize * 8 == depth
    np.testing.assert_array_equal(to_dtype(layer.pixels, np.dtype(np.uint8)), np.asarray(image))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_flat_documents_are_one_layer(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(layer_of(7, 5).pixels).convert(mode)
    PSDImage.frompil(image).save(tmp_path / "a.psd")
    (layer,) = io.read(tmp_path / "a.psd").leaves()
    np.testing.assert_array_equal(layer.pixels, np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize("mode", ["CMYK", "1", "LAB"])
def test_other_color_modes_are_refused_with_advice(mode: str, tmp_path: Path) -> None:
    PSDImage.frompil(Image.new(mode, (4, 4))).save(tmp_path / "a.psd")
    with pytest.raises(io.FileFormatError, match="convert it to RGB or grey"):
        io.read(tmp_path / "a.psd")


def resaved(path: Path, change: Any) -> Path:
    """The file with its low-level records changed."""
    container = Container.read(bytes_io.BytesIO(path.read_bytes()))
    change(container)
    target = path.with_name("changed.psd")
    with target.open("wb") as file:
        container.write(file)
    return target


def records(container: Container) -> Any:
    info = container.layer_and_mask_information.layer_info
    assert info is not None
    return info.layer_records


def test_what_we_cannot_show_is_said(scene_file: Path) -> None:
    from psd_tools.constants import Tag

    def change(container: Container) -> None:
        record = records(container)[0]
        record.blend_mode = BlendMode.DISSOLVE
        record.tagged_blocks.set_data(Tag.BLEND_FILL_OPACITY, 51)
        record.tagged_blocks[Tag.TYPE_TOOL_INFO] = _raw(Tag.TYPE_TOOL_INFO)
        record.tagged_blocks[Tag.EFFECTS_LAYER] = _raw(Tag.EFFECTS_LAYER)

    with pytest.warns(io.BakedWarning) as caught:
        layer = io.read(resaved(scene_file, change)).find("background")
    told = " ".join(str(w.message) for w in caught)
    for part in ("dissolve, read as normal", "fill opacity", "is text", "has effects"):
        assert part in told
    assert (layer.blend, layer.opacity) == ("normal", 0.2)


def _raw(tag: Any) -> Any:
    from psd_tools.psd.tagged_blocks import TaggedBlock

    return TaggedBlock(key=tag, data=bytes(4))


def test_a_camera_profile_is_converted_and_linear_is_known(tmp_path: Path) -> None:
    from multiplane.io.icc import LINEAR_PROFILE

    document = LayerDocument((2, 1), (Layer("x", np.full((1, 2, 4), 128, np.uint8)),))
    io.write(document, tmp_path / "a.psd")

    def change(container: Container) -> None:
        container.image_resources[Resource.ICC_PROFILE].data = LINEAR_PROFILE

    assert io.read(resaved(tmp_path / "a.psd", change)).space == "linear"


def test_unbalanced_groups_are_an_error(scene_file: Path) -> None:
    def without(index: int) -> Any:
        def change(container: Container) -> None:
            info = container.layer_and_mask_information.layer_info
            assert info is not None
            del info.layer_records[index]
            del info.channel_image_data[index]
            info.layer_count = -len(info.layer_records)

        return change

    with pytest.raises(io.FileFormatError, match="ends before it begins"):
        io.read(resaved(scene_file, without(1)))
    with pytest.raises(io.FileFormatError, match="have no end"):
        io.read(resaved(scene_file, without(len(SCENE.layers[1].layers) + 2)))  # pyright: ignore


@pytest.mark.parametrize("text", ["{", '{"layers": 3}', '{"provenance": 3}', "[]"])
def test_damaged_metadata_is_said_and_the_layers_kept(scene_file: Path, text: str) -> None:
    def change(container: Container) -> None:
        container.image_resources[Resource.XMP_METADATA].data = xmp.wrap(text)

    with pytest.warns(io.BakedWarning, match="metadata is damaged"):
        back = io.read(resaved(scene_file, change))
    assert back.provenance is None
    assert [leaf.content_hash for leaf in back.leaves()] == [
        leaf.content_hash for leaf in SCENE.leaves()
    ]


def test_a_file_cut_short_anywhere_is_an_error(scene_file: Path, tmp_path: Path) -> None:
    data = scene_file.read_bytes()
    for end in [*range(0, len(data), len(data) // 40), len(data) - 1]:
        (tmp_path / "cut.psd").write_bytes(data[:end])
        with pytest.raises(io.FileFormatError, match=r"cut\.psd"):
            io.read(tmp_path / "cut.psd")


def test_damage_inside_a_channel_is_an_error_not_a_black_layer(tmp_path: Path) -> None:
    document = LayerDocument((64, 64), (layer_of(64, 64, np.uint16),))
    io.write(document, tmp_path / "a.psd")
    data = bytearray(tmp_path.joinpath("a.psd").read_bytes())
    data[len(data) // 3] ^= 255  # in the deflated planes
    (tmp_path / "a.psd").write_bytes(data)
    with pytest.raises(io.FileFormatError):
        io.read(tmp_path / "a.psd")


def test_a_canvas_too_large_for_psd_is_refused_for_psd_alone(tmp_path: Path) -> None:
    wide = LayerDocument((30_001, 1), (layer_of(2, 1),))
    with pytest.raises(io.CapabilityError, match=r"save as \.psb"):
        io.write(wide, tmp_path / "a.psd")
    io.write(wide, tmp_path / "a.psb")
    with pytest.raises(io.FileFormatError, match="30,000 a side"):
        io.read(tmp_path / "a.psb")
    assert_same(wide, io.read(tmp_path / "a.psb", io.Limits(side=40_000)))


def test_rows_too_long_to_be_packed_are_stored(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((1, 20_000, 4), np.float32)
    document = LayerDocument((20_000, 1), (Layer("wide", pixels),), "linear")
    io.write(document, tmp_path / "a.psd")
    assert_same(document, io.read(tmp_path / "a.psd"))


def test_a_layer_beyond_counting_is_refused(tmp_path: Path) -> None:
    far = replace(MASK, offset=(1 << 40, 0))
    for layer in (layer_of(2, 2, offset=(1 << 31, 0)), layer_of(2, 2, mask=far)):
        with pytest.raises(io.CapabilityError, match="move it nearer"):
            io.write(LayerDocument((2, 2), (layer,)), tmp_path / "a.psd")


def test_xmp_survives_being_rewritten() -> None:
    packet = xmp.wrap('{"a": "<&\\"\'>"}').decode()
    assert xmp.unwrap(packet.encode()) == '{"a": "<&\\"\'>"}'
    start = packet.index(" multiplane:document=")
    attribute = packet[start : packet.index("/>", start)]
    value = attribute.split("=", 1)[1][1:-1].replace("&quot;", '"')
    element = f">\n<multiplane:document>{value}</multiplane:document>\n</rdf:Description>"
    moved = packet.replace(attribute + "/>", element)
    assert xmp.unwrap(moved.encode()) == '{"a": "<&\\"\'>"}'
    assert xmp.unwrap(b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>") is None
    with pytest.raises(ValueError, match="entities"):
        xmp.unwrap(b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + packet.encode())


def test_a_layer_with_nothing_painted_on_it(scene_file: Path) -> None:
    def change(container: Container) -> None:
        record = records(container)[0]
        record.right, record.bottom = record.left, record.top

    layer = io.read(resaved(scene_file, change)).find("background")
    assert (layer.size, layer.pixels.max()) == ((1, 1), 0)


def test_values_beyond_white_are_clipped_and_said(tmp_path: Path) -> None:
    psd = PSDImage.new("RGBA", (2, 2), depth=32)
    psd.create_pixel_layer_from_array(np.full((2, 2, 4), 1.5, np.float32), name="sun")
    psd.save(tmp_path / "a.psd")
    with pytest.warns(io.BakedWarning, match="'sun' has values beyond"):
        document = io.read(tmp_path / "a.psd")
    assert document.space == "linear"
    assert document.leaves()[0].pixels.max() == 1.0


def test_a_mask_grown_over_its_layer_says_so(tmp_path: Path) -> None:
    mask = replace(MASK, outside=0.5)
    document = LayerDocument((40, 30), (layer_of(10, 10, mask=mask, offset=(4, 4)),))
    with pytest.warns(io.BakedWarning, match="enlarged to cover their layer"):
        io.write(document, tmp_path / "a.psd")
    (layer,) = io.read(tmp_path / "a.psd").leaves()
    assert layer.mask is not None
    assert (layer.mask.offset, layer.mask.pixels.shape, layer.mask.outside) == (
        (-2, 3),
        (11, 16),
        0,
    )
    assert layer.mask.pixels[10, 15] == 128
