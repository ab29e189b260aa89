"""Every format: what was written is what is read, over random documents."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from io_documents import F32, U8, U16, assert_same, documents, layer_of, offsets, provenances, texts
from multiplane import io
from multiplane.core.document import Group, Layer, LayerDocument, Mask, Provenance
from multiplane.io.capabilities import ORA
from multiplane.io.metadata import ROLES

trips = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
anywhere = st.floats(0, 1)


def trip(document: LayerDocument, name: str) -> None:
    """Write and read `document`; nothing may be baked on the way."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error", io.BakedWarning)
        io.write(document, Path(folder) / name)
        assert_same(document, io.read(Path(folder) / name))


@trips
@given(documents(dtypes=(U8, U16, F32), outsides=anywhere, control_names=True))
def test_planes(document: LayerDocument) -> None:
    trip(document, "planes")


@trips
@given(documents(dtypes=(U8, U16, F32), outsides=anywhere, space="linear"))
def test_planes_linear(document: LayerDocument) -> None:
    trip(document, "planes")


@trips
@given(documents(dtypes=(U8,)))
def test_psd(document: LayerDocument) -> None:
    trip(document, "a.psd")


@trips
@given(documents(dtypes=(U8, U16)))
def test_psd_of_mixed_depth(document: LayerDocument) -> None:
    trip(document, "a.psd")


@trips
@given(documents(dtypes=(U8, U16, F32), space="linear"))
def test_psb_linear_with_floats(document: LayerDocument) -> None:
    trip(document, "a.psb")


@trips
@given(
    documents(
        dtypes=(U8, U16),
        modes=tuple(sorted(ORA.blend_modes)),
        layer_masks=False,
        group_masks=False,
        clips="plain",
        faded_pass_through=False,
    )
)
def test_ora(document: LayerDocument) -> None:
    trip(document, "a.ora")


@trips
@given(
    texts(control=True),
    st.sampled_from([None, *ROLES]),
    st.sampled_from([U8, U16]),
    st.sampled_from(["srgb", "linear"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.none() | provenances(),
)
def test_png(name: str, role: Any, dtype: Any, space: Any, size: Any, origin: Any) -> None:
    layer = layer_of(*size, dtype, name=name, role=role)
    trip(LayerDocument(size, (layer,), space, origin), "a.png")


FORMATS = ("planes", "a.psd", "a.ora", "a.png")


@pytest.mark.parametrize("name", FORMATS)
def test_one_pixel(name: str) -> None:
    trip(LayerDocument((1, 1), (layer_of(1, 1, name="·"),)), name)


@pytest.mark.parametrize("name", ["planes", "a.psd", "a.ora"])
@given(offset=offsets)
@settings(max_examples=8, deadline=None)
def test_layers_larger_than_the_canvas_and_off_it(name: str, offset: tuple[int, int]) -> None:
    trip(LayerDocument((4, 3), (layer_of(70, 50, offset=offset), layer_of(2, 2))), name)


@pytest.mark.parametrize("name", ["planes", "a.psd", "a.ora"])
def test_no_layers_at_all(name: str) -> None:
    trip(LayerDocument((5, 4), (), provenance=Provenance("tiny", seed=3)), name)


@pytest.mark.parametrize("name", ["planes", "a.psd", "a.ora"])
def test_groups_in_groups_and_empty_ones(name: str) -> None:
    inner = Group("空", (), blend="normal")
    for depth in range(12):
        inner = Group(f"第{depth}层", (layer_of(2, 2, seed=depth), inner), blend="normal")
    trip(LayerDocument((3, 3), (inner,)), name)


@pytest.mark.parametrize("name", FORMATS)
def test_color_under_clear_pixels_is_kept(name: str) -> None:
    pixels = layer_of(6, 5).pixels.copy()
    pixels[..., 3] = 0
    trip(LayerDocument((6, 5), (Layer("clear", pixels),)), name)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [float("inf"), float("nan"), np.float32(0.5), np.int64(7)])
def test_numbers_of_a_report_survive(name: str, value: Any, tmp_path: Path) -> None:
    origin = Provenance("tiny", "1", 1, {"size": (4, 4)}, {"psnr": value})
    io.write(LayerDocument((2, 2), (layer_of(2, 2),), provenance=origin), tmp_path / name)
    back = io.read(tmp_path / name).provenance
    assert back is not None
    assert back.request == {"size": [4, 4]}
    assert float(back.report["psnr"]) == pytest.approx(float(value), nan_ok=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_report_that_is_no_json_is_refused_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    origin = Provenance(report={"scores": {"figure": object()}})
    with pytest.raises(ValueError, match=r"report\.scores\.figure is a object"):
        io.write(LayerDocument((2, 2), (layer_of(2, 2),), provenance=origin), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [U8, U16])
def test_equal_documents_give_equal_bytes(name: str, dtype: Any, tmp_path: Path) -> None:
    origin = Provenance("tiny", seed=1)
    document = LayerDocument((9, 9), (layer_of(9, 9, dtype),), provenance=origin)

    def bytes_of(path: Path) -> dict[str, bytes]:
        io.write(document, path)
        files = path.iterdir() if path.is_dir() else [path]
        return {file.name: file.read_bytes() for file in files}

    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert bytes_of(tmp_path / "1" / name) == bytes_of(tmp_path / "2" / name)


def test_a_disabled_mask_stays_one() -> None:
    mask = Mask(np.full((3, 3), 9, np.uint8), (1, 1), outside=1.0, enabled=False)
    for name in ("planes", "a.psd"):
        trip(LayerDocument((5, 5), (layer_of(5, 5, mask=mask),)), name)
