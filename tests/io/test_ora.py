"""OpenRaster: the zip as the specification wants it, other programs' files, and hostile ones."""

from __future__ import annotations

import io as bytes_io
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from io_documents import assert_same, layer_of
from multiplane import io
from multiplane.core.composite import composite_u8
from multiplane.core.document import Group, LayerDocument, Provenance
from multiplane.io import limits
from multiplane.io.capabilities import ORA
from multiplane.io.ora import COMPOSITE_OPS

BASE = layer_of(6, 5, seed=1, name="base", opacity=0.7, blend="multiply", role="background")
CLIPPED = layer_of(6, 5, seed=2, name="clipped", clip=True, opacity=0.4)
SCENE = LayerDocument(
    (6, 5),
    (
        layer_of(6, 5, seed=3, name="bottom"),
        Group("through", (layer_of(2, 2, seed=4, name="苹果 🍎", visible=False),)),
        BASE,
        CLIPPED,
        Group("alone", (layer_of(2, 2, seed=5, offset=(-1, 7)),), blend="normal"),
    ),
    provenance=Provenance("tiny", "0.1", 3, {"prompt": "<a> & 'b'"}),
)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def ora(path: Path, stack: str, **files: Any) -> Path:
    """An OpenRaster file with this stack.xml; `layer` is a 4 x 3 picture at data/layer.png."""
    packed = bytes_io.BytesIO()
    Image.fromarray(layer_of(4, 3).pixels).save(packed, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", files.pop("mimetype", "image/openraster"))
        archive.writestr("stack.xml", stack)
        archive.writestr("data/layer.png", files.pop("layer", packed.getvalue()))
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def image(inner: str, size: str = 'w="8" h="6"') -> str:
    return f'<image version="0.0.3" {size}><stack>{inner}</stack></image>'


LAYER = '<layer src="data/layer.png" name="one" x="1" y="-2"/>'


def test_the_zip_is_laid_out_as_specified(tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / "a.ora")
    with zipfile.ZipFile(tmp_path / "a.ora") as archive:
        first = archive.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    # Bytes 30 on of the file are the name and content: how file managers tell the type.
    assert (tmp_path / "a.ora").read_bytes()[30:54] == b"mimetypeimage/openraster"
    files = members(tmp_path / "a.ora")
    with Image.open(bytes_io.BytesIO(files["mergedimage.png"])) as merged:
        np.testing.assert_array_equal(np.asarray(merged), composite_u8(SCENE))
    with Image.open(bytes_io.BytesIO(files["Thumbnails/thumbnail.png"])) as thumbnail:
        assert max(thumbnail.size) <= 256


def test_the_stack_says_what_the_specification_wants(tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / "a.ora")
    root = ElementTree.fromstring(members(tmp_path / "a.ora")["stack.xml"])
    assert (root.tag, root.get("w"), root.get("h")) == ("image", "6", "5")
    stack = root.find("stack")
    assert stack is not None
    assert [child.get("name") for child in stack] == ["alone", "base", "through", "bottom"]
    alone, clips, through, bottom = stack
    assert (alone.get("isolation"), through.get("isolation")) == ("isolate", "auto")
    assert through[0].get("visibility") == "hidden"
    # The clip: an isolated stack with the base's mode and opacity, what is clipped on top in it.
    assert clips.get("isolation") == "isolate"
    assert (clips.get("composite-op"), clips.get("opacity")) == ("svg:multiply", "0.7")
    assert [c.get("composite-op") for c in clips] == ["svg:src-atop", None]
    assert (alone[0].get("x"), alone[0].get("y")) == ("-1", "7")
    assert bottom.tag == "layer"


def test_thumbnails_are_256_pixels_at_most(tmp_path: Path) -> None:
    io.write(LayerDocument((900, 3), (layer_of(4, 3),)), tmp_path / "a.ora")
    data = members(tmp_path / "a.ora")["Thumbnails/thumbnail.png"]
    with Image.open(bytes_io.BytesIO(data)) as thumbnail:
        assert thumbnail.size == (256, 1)


def test_the_modes_are_those_of_the_capability_table() -> None:
    assert set(COMPOSITE_OPS) == ORA.blend_modes


def test_a_file_of_another_program_is_read(tmp_path: Path) -> None:
    inner = (
        f'<stack name="folder" opacity="0.5" composite-op="svg:screen">{LAYER}</stack>'
        '<layer src="data/layer.png" composite-op="svg:plus" visibility="hidden" selected="true"/>'
    )
    document = io.read(ora(tmp_path / "a.ora", image(inner)))
    bottom, folder = document.layers
    assert isinstance(folder, Group)
    assert (folder.name, folder.opacity, folder.blend) == ("folder", 0.5, "screen")
    assert (bottom.name, bottom.blend, bottom.visible) == ("", "linear-dodge", False)
    one = document.find("one")
    assert one.offset == (1, -2)
    np.testing.assert_array_equal(one.pixels, layer_of(4, 3).pixels)


def test_what_we_cannot_show_is_said(tmp_path: Path) -> None:
    atop = LAYER.replace("/>", ' composite-op="svg:src-atop"/>')
    inner = atop + LAYER.replace("/>", ' composite-op="svg:dst-out"/>') + LAYER + '<text name="t"/>'
    with pytest.warns(io.BakedWarning) as caught:
        document = io.read(ora(tmp_path / "a.ora", image(inner)))
    told = " ".join(str(w.message) for w in caught)
    for part in ("'svg:dst-out', read as normal", "paints on everything below", "<text> 't'"):
        assert part in told
    assert [node.clip for node in document.layers] == [False, False, True]


def test_a_clip_run_changed_by_another_program_is_read_as_it_stands(tmp_path: Path) -> None:
    io.write(SCENE, tmp_path / "a.ora")
    files = members(tmp_path / "a.ora")
    stack = files["stack.xml"].decode().replace("svg:src-atop", "svg:screen")
    with zipfile.ZipFile(tmp_path / "b.ora", "w") as archive:
        for name, data in {**files, "stack.xml": stack.encode()}.items():
            archive.writestr(name, data)
    run = io.read(tmp_path / "b.ora").layers[2]
    assert isinstance(run, Group)
    assert [(n.name, n.blend, n.clip) for n in run.layers] == [
        ("base", "normal", False),
        ("clipped", "screen", False),
    ]
    assert (run.blend, run.opacity) == ("multiply", 0.7)


@pytest.mark.parametrize("base", [BASE, Group("g", (BASE,)), Group("n", (BASE,), blend="screen")])
@pytest.mark.parametrize("count", [1, 3])
def test_clips_on_layers_and_groups_come_back(base: Any, count: int, tmp_path: Path) -> None:
    clipped = tuple(replace(CLIPPED, name=str(i)) for i in range(count))
    document = LayerDocument((6, 5), (*clipped, base, *clipped, BASE))
    io.write(document, tmp_path / "a.ora")
    assert_same(document, io.read(tmp_path / "a.ora"))


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/cron.d/evil", "data/../../x", "..\\x", "C:/x"]
)
def test_names_that_lead_out_of_the_zip_are_refused(name: str, tmp_path: Path) -> None:
    path = ora(tmp_path / "a.ora", image(LAYER), **{name: b"x"})
    with pytest.raises(io.FileFormatError, match="outside of itself"):
        io.read(path)


def test_a_source_outside_the_zip_is_not_followed(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3)).save(tmp_path / "secret.png")
    path = ora(tmp_path / "a.ora", image('<layer src="../secret.png"/>'))
    with pytest.raises(io.FileFormatError, match="not in the zip"):
        io.read(path)


def test_entities_are_refused(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE image [<!ENTITY a "ha">]>' + image(LAYER.replace("one", "&a;"))
    with pytest.raises(io.FileFormatError, match="defines entities"):
        io.read(ora(tmp_path / "a.ora", laughs))


def blank_png(width: int, height: int, real_rows: int = 0) -> bytes:
    """A PNG that declares a size and holds `real_rows` rows of nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes((1 + 4 * width) * real_rows), 9)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_picture_bomb_is_refused_before_it_unfolds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes that claim much more: by size, and by using one picture again and again."""
    huge = ora(tmp_path / "huge.ora", image(LAYER), layer=blank_png(60_000, 60_000))
    with pytest.raises(io.FileFormatError, match="60000 x 60000 pixels, more than the limit"):
        io.read(huge)
    monkeypatch.setattr(limits, "_SMALL", 1 << 20)
    many = ora(tmp_path / "many.ora", image(LAYER * 40), layer=blank_png(500, 500, 500))
    with pytest.raises(io.FileFormatError, match="claim to unfold"):
        io.read(many)


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    path = tmp_path / "a.ora"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "image/openraster")
        archive.writestr("stack.xml", image(LAYER))
        archive.writestr("data/layer.png", blank_png(4, 3) + bytes(80 << 20))
    assert path.stat().st_size < 200_000
    with pytest.raises(io.FileFormatError, match=r"unfolds to 8\d,\d{3},\d{3} bytes"):
        io.read(path)
    ora(path, " " * (9 << 20) + image(LAYER))
    with pytest.raises(io.FileFormatError, match=r"stack\.xml unfolds to"):
        io.read(path)


def test_a_member_that_lies_about_its_size_is_an_error(tmp_path: Path) -> None:
    data = bytearray(ora(tmp_path / "a.ora", image(LAYER)).read_bytes())
    place = data.rindex(b"PK\x01\x02")  # central directory entry of the last member
    (declared,) = struct.unpack_from("<I", data, place + 24)
    struct.pack_into("<I", data, place + 24, declared // 2)
    (tmp_path / "a.ora").write_bytes(data)
    with pytest.raises(io.FileFormatError, match=r"a\.ora"):
        io.read(tmp_path / "a.ora")


@pytest.mark.parametrize(
    ("stack", "problem"),
    [
        ("<image", "cannot be read"),
        ("<image/>", "no layer stack"),
        ("<other><stack/></other>", "no layer stack"),
        (image(LAYER, 'w="8"'), "'h' is missing"),
        (image(LAYER, 'w="0" h="4"'), "0 x 4"),
        (image(LAYER, 'w="99999" h="4"'), "limit"),
        (image(LAYER.replace('"-2"', '"far"')), "far"),
        (image(LAYER.replace('"-2"', '"99999999999"')), "beyond any canvas"),
        (image(LAYER.replace("/>", ' opacity="2"/>')), "opacity"),
        (image(LAYER.replace("/>", ' opacity="nan"/>')), "opacity"),
        (image("<layer/>"), "'src' is missing"),
        (image('<layer src="data/absent.png"/>'), "not in the zip"),
        (image("<stack>" * 80 + "</stack>" * 80), "nests groups"),
    ],
)
def test_a_stack_that_lies_is_one_clear_error(stack: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(io.FileFormatError, match=problem):
        io.read(ora(tmp_path / "a.ora", stack))


def test_too_many_layers_are_refused(tmp_path: Path) -> None:
    path = ora(tmp_path / "a.ora", image(LAYER * 21))
    assert len(io.read(path).layers) == 21
    with pytest.raises(io.FileFormatError, match="too many layers, more than the limit of 20"):
        io.read(path, io.Limits(nodes=20))


def test_layers_must_be_png(tmp_path: Path) -> None:
    path = ora(tmp_path / "a.ora", image(LAYER), layer=b"<svg/>")
    with pytest.raises(io.FileFormatError, match="is no PNG"):
        io.read(path)


def test_another_kind_of_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(io.FileFormatError, match="does not say that it is image/openraster"):
        io.read(ora(tmp_path / "a.ora", image(LAYER), mimetype="application/x-krita"))
    with zipfile.ZipFile(tmp_path / "b.ora", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(io.FileFormatError, match="holds no mimetype"):
        io.read(tmp_path / "b.ora")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [("&quot;seed&quot;: 3", "x", "provenance"), ("background", "king", "role")],
)
def test_damaged_extras_are_said_and_the_layers_kept(
    old: str, new: str, told: str, tmp_path: Path
) -> None:
    io.write(SCENE, tmp_path / "a.ora")
    files = members(tmp_path / "a.ora")
    stack = files["stack.xml"].decode()
    assert old in stack
    with zipfile.ZipFile(tmp_path / "b.ora", "w") as archive:
        for name, data in {**files, "stack.xml": stack.replace(old, new)}.items():
            archive.writestr(name, data)
    with pytest.warns(io.BakedWarning, match=told):
        back = io.read(tmp_path / "b.ora")
    assert len(back.leaves()) == len(SCENE.leaves())
