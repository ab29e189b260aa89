"""What a format cannot hold is refused or baked as its table says, and the baked picture stays."""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from io_documents import U8, U16, documents, layer_of, random_array
from multiplane import io
from multiplane.core.composite import composite, composite_u8
from multiplane.core.document import Group, Layer, LayerDocument, Mask, Provenance
from multiplane.core.pixels import premultiply
from multiplane.io import png
from multiplane.io.capabilities import CAPABILITIES, FEATURES, Capabilities, check, features

SIZE = (8, 6)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def mask_of(**options: Any) -> Mask:
    return Mask(random_array(np.random.default_rng(7), (4, 5), np.uint8), (1, 1), **options)


def floats() -> np.ndarray:
    return random_array(np.random.default_rng(1), (6, 8, 4), np.float32)


def plain(**options: Any) -> Layer:
    return layer_of(*SIZE, **options)


# One document a feature, that has it and as little else as can be.
HOLDERS: dict[str, LayerDocument] = {
    "layers": LayerDocument(SIZE, (plain(), plain(seed=2))),
    "groups": LayerDocument(SIZE, (Group("g", (plain(),)),)),
    "faded_pass_through": LayerDocument(SIZE, (Group("g", (plain(),), opacity=0.5),)),
    "masks": LayerDocument(SIZE, (plain(mask=mask_of()),)),
    "group_masks": LayerDocument(SIZE, (Group("g", (plain(),), blend="normal", mask=mask_of()),)),
    "grey_outside": LayerDocument(SIZE, (plain(mask=mask_of(outside=0.25)),)),
    "opacity": LayerDocument(SIZE, (plain(opacity=0.5),)),
    "blends": LayerDocument(SIZE, (plain(), plain(blend="exclusion", seed=2))),
    "clips": LayerDocument(SIZE, (plain(), plain(clip=True, seed=2))),
    "blended_clips": LayerDocument(SIZE, (plain(), plain(clip=True, blend="screen", seed=2))),
    "clipped_groups": LayerDocument(SIZE, (plain(), Group("g", (plain(seed=2),), clip=True))),
    "offsets": LayerDocument(SIZE, (plain(offset=(2, -1)),)),
    "hidden": LayerDocument(SIZE, (plain(visible=False),)),
    "roles": LayerDocument(SIZE, (plain(role="shadow"),)),
    "unicode_names": LayerDocument(SIZE, (plain(name="图层 🍎"),)),
    "control_names": LayerDocument(SIZE, (plain(name="two\nlines\x01"),)),
    "deep": LayerDocument(SIZE, (plain(dtype=np.uint16),)),
    "floats": LayerDocument(SIZE, (Layer("layer", floats()),)),
    "linear_floats": LayerDocument(SIZE, (Layer("layer", floats()),), space="linear"),
    "linear": LayerDocument(SIZE, (plain(),), space="linear"),
    "provenance": LayerDocument(SIZE, (plain(),), provenance=Provenance("tiny")),
}
FILES = {"planes": "planes", "psd": "a.psd", "ora": "a.ora", "png": "a.png"}
CASES = [(table, feature) for table in CAPABILITIES.values() for feature in FEATURES]


def test_every_feature_has_a_column_and_a_case() -> None:
    holdings = {f.name for f in fields(Capabilities)} - {"name", "title", "suffixes", "blend_modes"}
    assert holdings == set(FEATURES) == set(HOLDERS)


@pytest.mark.parametrize(("table", "feature"), CASES, ids=lambda v: getattr(v, "name", v))
def test_the_table_says_what_happens(table: Capabilities, feature: str, tmp_path: Path) -> None:
    document, path = HOLDERS[feature], tmp_path / FILES[table.name]
    found = features(document, table)
    holding = getattr(table, feature)
    if feature == "blends" and feature not in found:
        holding = "holds"  # the format knows this very mode
    else:
        assert feature in found
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", io.BakedWarning)
        if any(getattr(table, f) == "refuses" for f in found):
            with pytest.raises(io.CapabilityError) as refusal:
                io.write(document, path)
            assert holding != "refuses" or FEATURES[feature][0] in str(refusal.value)
            assert list(tmp_path.iterdir()) == []
            return
        assert holding != "refuses"
        io.write(document, path)
    told = " ".join(str(w.message) for w in caught)
    if holding == "bakes":
        # A merge of several layers says so once, with all their names, in place of the parts.
        merged = len(document.leaves()) > 1 and table.layers == "bakes"
        assert FEATURES["layers" if merged else feature][0] in told
        assert all(repr(leaf.name) in told for leaf in document.leaves()) or not merged
    elif holding == "holds" and not any(getattr(table, f) == "bakes" for f in found):
        assert told == ""
    assert_same_picture(document, io.read(path), tolerance=2.5 / 255 if told else 0.6 / 255)


def assert_same_picture(made: LayerDocument, back: LayerDocument, tolerance: float) -> None:
    shown = [premultiply(composite_u8(d).astype(np.float32) / 255) for d in (made, back)]
    np.testing.assert_allclose(*shown, atol=tolerance)


def test_a_refusal_names_layers_feature_and_what_to_do(tmp_path: Path) -> None:
    document = LayerDocument(SIZE, (plain(), plain(name="glow", blend="linear-burn")))
    with pytest.raises(io.CapabilityError, match=r"OpenRaster.*blend mode.*'glow'.*planes folder"):
        io.write(document, tmp_path / "a.ora")


def test_half_a_character_in_a_name_is_refused_everywhere(tmp_path: Path) -> None:
    document = LayerDocument(SIZE, (plain(name="x\ud800"),))
    for name in FILES.values():
        with pytest.raises(io.CapabilityError, match="half a character"):
            io.write(document, tmp_path / name)


@quick
@given(documents(dtypes=(U8, U16), outsides=st.floats(0, 1)))
def test_flattening_to_png_is_the_compositors_picture(document: LayerDocument) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", io.BakedWarning)
        io.write(document, Path(folder) / "a.png")
        (layer,) = io.read(Path(folder) / "a.png").leaves()
    full = np.iinfo(layer.pixels.dtype).max
    truth = np.round(composite(document).astype(np.float64) * full)
    if png.plain_layer(document) is None:
        assert np.abs(layer.pixels - truth).max() <= 1


@quick
@given(documents(modes=("normal", "multiply", "screen"), group_masks=False, clips="none"))
def test_masks_baked_for_ora_keep_the_picture(document: LayerDocument) -> None:
    if any(n.blend == "pass-through" and n.opacity < 1 for _, n in document.walk()):
        return
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", io.BakedWarning)
        io.write(document, Path(folder) / "a.ora")
        back = io.read(Path(folder) / "a.ora")
    pictures = [premultiply(composite(d)) for d in (document, back)]
    np.testing.assert_allclose(*pictures, atol=3 / 255)


@quick
@given(documents(dtypes=(U8,), outsides=st.floats(0, 1)))
def test_masks_enlarged_for_psd_keep_the_picture(document: LayerDocument) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", io.BakedWarning)
        io.write(document, Path(folder) / "a.psd")
        back = io.read(Path(folder) / "a.psd")
    for (_, a), (_, b) in zip(document.walk(), back.walk(), strict=True):
        if a.mask is not None and b.mask is not None:
            assert b.mask.outside in (0.0, 1.0)
    modes = {node.blend for _, node in document.walk()}
    if not modes & {"hard-mix", "vivid-light", "color-burn", "color-dodge", "divide"}:
        pictures = [premultiply(composite(d)) for d in (document, back)]
        # Coverage beyond the mask is rounded to 8 bits once it is stored.
        np.testing.assert_allclose(*pictures, atol=8 / 255)


def test_floats_are_rounded_to_sixteen_bits_and_said(tmp_path: Path) -> None:
    document = LayerDocument(SIZE, (Layer("soft", floats()),))
    for name in ("a.psd", "a.ora", "a.png"):
        with pytest.warns(io.BakedWarning, match=r"float32 pixels \('soft'\), now rounded to 16"):
            io.write(document, tmp_path / name)
        (layer,) = io.read(tmp_path / name).leaves()
        assert layer.pixels.dtype == np.uint16
        assert np.abs(layer.pixels / 65535 - floats()).max() <= 0.51 / 65535


def test_the_documented_table_is_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|$", text, re.M)
    documented = {row[0]: row[1:] for row in rows if row[0] != "feature"}
    order = ("planes", "psd", "ora", "png")
    assert documented == {
        FEATURES[f][0]: tuple(getattr(CAPABILITIES[name], f) for name in order) for f in FEATURES
    }


def test_check_says_it_once(tmp_path: Path) -> None:
    many = tuple(plain(name=f"n{i}", mask=mask_of(), seed=i) for i in range(20))
    with pytest.warns(io.BakedWarning) as caught:
        check(LayerDocument(SIZE, many), tmp_path / "a.ora", CAPABILITIES["ora"])
    assert len(caught) == 1
    assert "'n7' and 12 more" in str(caught[0].message)
