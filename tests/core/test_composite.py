"""The compositor against the plain formulas, Pillow, psd-tools, and the algebra of `over`."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from psd_tools import PSDImage
from psd_tools.composite import composite as psd_tools_composite
from psd_tools.constants import BlendMode

from core.documents import SMOOTH_MODES, STEEP_MODES, documents, random_pixels
from core.plain_compositor import compose
from multiplane.core import composite as compositor
from multiplane.core.blend import BLEND_MODES
from multiplane.core.composite import composite, composite_u8, over
from multiplane.core.document import Group, Layer, LayerDocument, Mask
from multiplane.core.pixels import premultiply


def premul(pixels):
    return premultiply(np.asarray(pixels, np.float32))


@settings(max_examples=150, deadline=None)
@given(documents(modes=sorted(set(SMOOTH_MODES) - STEEP_MODES)))
def test_any_document_equals_the_plain_formulas(document):
    np.testing.assert_allclose(premul(composite(document)), premul(compose(document)), atol=2e-5)


@pytest.mark.parametrize("mode", sorted(BLEND_MODES))
def test_each_mode_over_clear_soft_and_opaque_backdrops(mode):
    rng = np.random.default_rng(3)
    below, above = (random_pixels(rng, 40, 30, np.float32) for _ in range(2))
    document = LayerDocument((40, 30), (Layer("a", below), Layer("b", above, blend=mode)))
    got, wanted = premul(composite(document)), premul(compose(document))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_tiles_meet_without_a_seam_whatever_their_number(monkeypatch):
    rng = np.random.default_rng(4)
    modes = ("normal", "multiply", "soft-light", "luminosity", "normal")
    layers = tuple(
        Layer(mode, random_pixels(rng, 61, 47), (3 * i - 5, 4 - 2 * i), blend=mode, opacity=0.9)
        for i, mode in enumerate(modes)
    )
    document = LayerDocument((64, 50), (*layers[:2], Group("g", layers[2:], opacity=0.7)))
    whole = composite(document)
    whole_u8 = composite_u8(document)
    monkeypatch.setattr(compositor, "TILE_WIDTH", 7)
    monkeypatch.setattr(compositor, "TILE_HEIGHT", 5)
    monkeypatch.setattr(compositor, "TILES_A_THREAD", 1)
    for threads in (1, 3):
        np.testing.assert_array_equal(composite(document, threads=threads), whole)
        np.testing.assert_array_equal(composite_u8(document, threads=threads), whole_u8)


@settings(max_examples=60, deadline=None)
@given(documents())
def test_the_8_bit_picture_is_the_float_one_rounded(document):
    picture = composite(document)
    difference = np.abs(composite_u8(document) / 255.0 - np.clip(picture, 0, 1))
    assert difference.max() <= 0.5 / 255 + 1e-6


def test_normal_layers_agree_with_pillow():
    rng = np.random.default_rng(5)
    pictures = [random_pixels(rng, 90, 70) for _ in range(2)]
    document = LayerDocument((90, 70), tuple(Layer("n", p) for p in pictures))
    back, front = (Image.fromarray(p) for p in pictures)
    theirs = np.asarray(Image.alpha_composite(back, front)).astype(int)
    ours = composite_u8(document).astype(int)
    seen = theirs[..., 3] > 0
    assert np.abs(ours - theirs)[..., 3].max() <= 1
    # Pillow rounds alpha and colour weights in integers: with little alpha its colour is coarse.
    weight = theirs[..., 3:][seen] / 255
    assert (np.abs(ours - theirs)[seen][:, :3] * weight).max() <= 1


# --- psd-tools --------------------------------------------------------------------------------


def with_psd_tools(document):
    """psd-tools' own rendering of a uint8 document: (H, W, 4) float, straight alpha."""
    psd = PSDImage.new("RGBA", document.size)

    def build(nodes):
        made = []
        for node in nodes:
            enum = BlendMode[node.blend.upper().replace("-", "_")]
            if isinstance(node, Group):
                item = psd.create_group(build(node.layers), blend_mode=enum)
            else:
                x, y = node.offset
                picture = Image.fromarray(node.pixels)
                item = psd.create_pixel_layer(picture, top=y, left=x, blend_mode=enum)
            item.opacity = round(node.opacity * 255)
            item.visible = node.visible
            if node.mask is not None:
                item.create_mask(Image.fromarray(node.mask.pixels))
                x, y = node.mask.offset
                item.mask._data.left, item.mask._data.top = x, y
                item.mask._data.right = x + node.mask.pixels.shape[1]
                item.mask._data.bottom = y + node.mask.pixels.shape[0]
                item.mask._data.background_color = round(node.mask.outside * 255)
            made.append(item)
        for item, node in zip(made, nodes, strict=True):
            if node.clip:
                item.clipping = True
        return made

    build(document.layers)
    color, _, alpha = psd_tools_composite(psd)
    return np.concatenate([color, alpha], axis=2)


def assert_agrees(document):
    ours, theirs = composite(document), with_psd_tools(document)
    np.testing.assert_allclose(premul(ours), premul(theirs), atol=1e-4)


@pytest.mark.parametrize("mode", sorted(BLEND_MODES))
def test_a_mode_on_soft_layers_agrees_with_psd_tools(mode):
    rng = np.random.default_rng(11)
    below, above = random_pixels(rng, 32, 24), random_pixels(rng, 32, 24)
    if mode == "hard-mix":  # it jumps where colours sum to 1
        below[..., :3] = below[..., :3] // 2 * 2
        above[..., :3] = above[..., :3] // 2 * 2
    document = LayerDocument(
        (32, 24), (Layer("a", below), Layer("b", above, opacity=204 / 255, blend=mode))
    )
    assert_agrees(document)


def test_groups_masks_offsets_and_clips_agree_with_psd_tools():
    rng = np.random.default_rng(12)
    ground = random_pixels(rng, 32, 24)
    ground[..., 3] = 255
    solid = random_pixels(rng, 20, 18)
    solid[..., 3] = np.where(solid[..., 3] > 128, 255, 0)
    mask = Mask(rng.integers(0, 256, (10, 12)).astype(np.uint8), (8, 5), outside=1.0)
    for group_mode in ("pass-through", "normal", "multiply"):
        group = Group(
            "group",
            (
                Layer("offset", random_pixels(rng, 40, 20), (-6, 9), blend="overlay"),
                Layer("masked", random_pixels(rng, 16, 30), (12, -4), mask=mask, blend="screen"),
            ),
            opacity=153 / 255,
            blend=group_mode,
            mask=Mask(rng.integers(0, 256, (24, 32)).astype(np.uint8)),
        )
        layers = (
            Layer("ground", ground),
            group,
            Layer("base", solid, (4, 3), opacity=204 / 255),
            Layer("clipped", random_pixels(rng, 32, 24), clip=True, blend="multiply"),
            Layer("hidden", random_pixels(rng, 32, 24), visible=False),
        )
        assert_agrees(LayerDocument((32, 24), layers))


# --- algebra ----------------------------------------------------------------------------------

planes = st.integers(0, 2**32 - 1).map(
    lambda seed: random_pixels(np.random.default_rng(seed), 6, 5, np.float32)
)


@given(planes)
def test_a_clear_plane_is_the_identity_of_over(plane):
    clear = plane.copy()
    clear[..., 3] = 0.0
    np.testing.assert_array_equal(over(clear, plane), plane)  # hidden colour of the back included
    np.testing.assert_array_equal(premul(over(plane, clear)), premul(plane))


@given(planes, planes)
def test_an_opaque_plane_hides_what_is_behind(front, back):
    front[..., 3] = 1.0
    np.testing.assert_array_equal(over(front, back), front)


@given(planes, planes, planes)
def test_over_is_associative(a, b, c):
    left, right = over(over(a, b), c), over(a, over(b, c))
    np.testing.assert_allclose(premul(left), premul(right), atol=1e-6)


@given(planes, planes)
def test_over_is_the_composite_of_two_layers(front, back):
    document = LayerDocument((6, 5), (Layer("back", back), Layer("front", front)))
    np.testing.assert_allclose(premul(over(front, back)), premul(composite(document)), atol=1e-6)


def test_over_refuses_planes_of_two_sizes():
    with pytest.raises(ValueError, match=r"\(2, 2, 4\) over \(2, 3, 4\)"):
        over(np.zeros((2, 2, 4), np.float32), np.zeros((2, 3, 4), np.float32))


@settings(max_examples=40, deadline=None)
@given(documents(), st.sampled_from(SMOOTH_MODES))
def test_a_clear_layer_on_top_changes_nothing(document, mode):
    width, height = document.size
    clear = np.full((height, width, 4), 255, np.uint8)
    clear[..., 3] = 0
    for extra in (
        Layer("clear", clear, blend=mode),
        Layer("faded", clear, opacity=0.0, blend=mode),
        Layer("hidden", np.full((height, width, 4), 255, np.uint8), visible=False, blend=mode),
        Layer("away", np.full((height, width, 4), 255, np.uint8), (width, 0), blend=mode),
    ):
        with_it = LayerDocument(document.size, (*document.layers, extra))
        np.testing.assert_array_equal(composite(with_it), composite(document))


@settings(max_examples=40, deadline=None)
@given(documents(), documents())
def test_an_opaque_layer_hides_all_below(below, above):
    width, height = above.size
    wall = Layer("wall", np.full((height, width, 4), (9, 90, 200, 255), np.uint8))
    assume(not above.layers[0].clip)
    alone = LayerDocument(above.size, (wall, *above.layers))
    hiding = LayerDocument(above.size, (*below.layers, wall, *above.layers))
    np.testing.assert_array_equal(composite(hiding), composite(alone))


@settings(max_examples=40, deadline=None)
@given(documents(modes=["normal"]))
def test_an_unfaded_pass_through_group_is_its_layers(document):
    unclipped = tuple(node for node in document.layers if not node.clip)
    grouped = LayerDocument(document.size, (Group("all", unclipped),))
    loose = LayerDocument(document.size, unclipped)
    np.testing.assert_array_equal(composite(grouped), composite(loose))


# --- single cases by hand -----------------------------------------------------------------------


def one_pixel(*layers, space="srgb", **arguments):
    return composite(LayerDocument((1, 1), layers, space=space), **arguments)[0, 0]


def dot(*values, **fields):
    return Layer("dot", np.array(values, np.float32).reshape(1, 1, 4), **fields)


def test_half_white_on_black_in_both_lights():
    black, white = dot(0, 0, 0, 1), dot(1, 1, 1, 1, opacity=0.5)
    assert one_pixel(black, white)[0] == pytest.approx(0.5)
    document = LayerDocument((1, 1), (black, white))
    assert composite_u8(document)[0, 0, 0] == 128
    assert composite_u8(document, light="linear")[0, 0, 0] == 188
    assert one_pixel(black, white, light="linear")[0] == pytest.approx(0.7353569, abs=1e-5)
    assert one_pixel(black, white, space="linear")[0] == pytest.approx(0.5)
    assert composite_u8(LayerDocument((1, 1), (black, white), space="linear"))[0, 0, 0] == 188
    grey = LayerDocument((1, 1), (Layer("u8", np.full((1, 1, 4), 128, np.uint8)),))
    assert composite(grey, light="linear")[0, 0, 0] == pytest.approx(128 / 255, abs=1e-5)


def test_a_clip_keeps_the_alpha_of_its_base():
    base, paint = dot(0.2, 0.4, 0.6, 0.5), dot(1, 0, 0, 1, clip=True)
    np.testing.assert_allclose(one_pixel(base, paint), [1, 0, 0, 0.5], atol=1e-6)
    np.testing.assert_allclose(one_pixel(dot(0.2, 0.4, 0.6, 1), paint), [1, 0, 0, 1], atol=1e-6)
    hidden = dot(0.2, 0.4, 0.6, 0.5, visible=False)
    assert one_pixel(hidden, paint)[3] == 0  # hidden with its base
    assert one_pixel(paint)[3] == 0  # nothing below it


def test_multiplying_a_soft_base_by_white_leaves_its_colour():
    base, white = dot(0.2, 0.4, 0.6, 0.3), dot(1, 1, 1, 1, clip=True, blend="multiply")
    np.testing.assert_allclose(one_pixel(base, white), [0.2, 0.4, 0.6, 0.3], atol=1e-6)


def test_a_layer_clipped_to_a_group_stays_inside_it():
    inside = Group("g", (dot(0.5, 0.5, 0.5, 0.5, blend="multiply"),))
    paint = dot(1, 0, 0, 1, clip=True)
    np.testing.assert_allclose(one_pixel(inside, paint), [1, 0, 0, 0.5], atol=1e-6)


def test_multiply_inside_an_isolated_group_does_not_see_the_ground():
    ground, dark = dot(0.5, 0.5, 0.5, 1), dot(0.5, 0.5, 0.5, 1, blend="multiply")
    assert one_pixel(ground, Group("g", (dark,)))[0] == pytest.approx(0.25)
    assert one_pixel(ground, Group("g", (dark,), blend="normal"))[0] == pytest.approx(0.5)
    half = Group("g", (dark,), opacity=0.5)
    assert one_pixel(ground, half)[0] == pytest.approx(0.375)


def test_a_faded_pass_through_group_on_clear_ground_stays_under_what_follows():
    faded = Group("g", (dot(1, 0, 0, 1),), opacity=0.5)
    blue = dot(0, 0, 1, 0.5)
    np.testing.assert_allclose(one_pixel(faded, blue), [1 / 3, 0, 2 / 3, 0.75], atol=1e-6)


def test_values_beyond_white_survive_float_layers():
    bright = dot(4.0, 2.0, 0.5, 1.0)
    np.testing.assert_array_equal(one_pixel(bright), [4.0, 2.0, 0.5, 1.0])
    on_black = LayerDocument((1, 1), (dot(0, 0, 0, 1), dot(4.0, 2.0, -1.0, 0.5)))
    np.testing.assert_allclose(composite(on_black)[0, 0], [2.0, 1.0, -0.5, 1.0])
    assert composite_u8(on_black)[0, 0].tolist() == [255, 255, 0, 255]
