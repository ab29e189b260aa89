"""Every blend mode against its formula written out for one pixel, and against psd-tools."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psd_tools.composite.blend import BLEND_FUNC
from psd_tools.constants import BlendMode

from multiplane.core.blend import BLEND_MODES

# --- W3C Compositing and Blending Level 1, section 10, one channel at a time ------------------


def dodge(b, s):
    return 0.0 if b == 0 else 1.0 if s == 1 else min(1.0, b / (1 - s))


def burn(b, s):
    return 1.0 if b == 1 else 0.0 if s == 0 else 1 - min(1.0, (1 - b) / s)


def hard_light(b, s):
    return b * 2 * s if s <= 0.5 else b + (2 * s - 1) - b * (2 * s - 1)


def soft_light(b, s):
    if s <= 0.5:
        return b - (1 - 2 * s) * b * (1 - b)
    d = ((16 * b - 12) * b + 4) * b if b <= 0.25 else math.sqrt(b)
    return b + (2 * s - 1) * (d - b)


def vivid_light(b, s):
    if s in (0.0, 1.0):
        return s
    return burn(b, 2 * s) if s <= 0.5 else dodge(b, 2 * s - 1)


SEPARABLE = {
    "normal": lambda b, s: s,
    "multiply": lambda b, s: b * s,
    "screen": lambda b, s: b + s - b * s,
    "overlay": lambda b, s: hard_light(s, b),
    "darken": min,
    "lighten": max,
    "color-dodge": dodge,
    "color-burn": burn,
    "hard-light": hard_light,
    "soft-light": soft_light,
    "difference": lambda b, s: abs(b - s),
    "exclusion": lambda b, s: b + s - 2 * b * s,
    # Adobe's descriptions of the modes that W3C does not have.
    "linear-dodge": lambda b, s: min(1.0, b + s),
    "linear-burn": lambda b, s: max(0.0, b + s - 1),
    "linear-light": lambda b, s: min(1.0, max(0.0, b + 2 * s - 1)),
    "vivid-light": vivid_light,
    "pin-light": lambda b, s: min(b, 2 * s) if s <= 0.5 else max(b, 2 * s - 1),
    "hard-mix": lambda b, s: 1.0 if b + s >= 1 else 0.0,
    "subtract": lambda b, s: max(0.0, b - s),
    "divide": lambda b, s: 0.0 if b == 0 else 1.0 if s == 0 else min(1.0, b / s),
}


# --- W3C section 10.2, the pseudo-code of the specification ------------------------------------


def lum(c):
    return 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]


def clip_color(c):
    light, low, high = lum(c), min(c), max(c)
    if low < 0:
        c = [light + (x - light) * light / (light - low) for x in c]
    if high > 1:
        c = [light + (x - light) * (1 - light) / (high - light) for x in c]
    return c


def set_lum(c, light):
    d = light - lum(c)
    return clip_color([x + d for x in c])


def sat(c):
    return max(c) - min(c)


def set_sat(c, s):
    order = sorted(range(3), key=lambda i: c[i])
    low, mid, high = order
    out = [0.0, 0.0, 0.0]
    if c[high] > c[low]:
        out[mid] = (c[mid] - c[low]) * s / (c[high] - c[low])
        out[high] = s
    return out


NON_SEPARABLE = {
    "hue": lambda b, s: set_lum(set_sat(s, sat(b)), lum(b)),
    "saturation": lambda b, s: set_lum(set_sat(b, sat(s)), lum(b)),
    "color": lambda b, s: set_lum(s, lum(b)),
    "luminosity": lambda b, s: set_lum(b, lum(s)),
    "darker-color": lambda b, s: s if lum(s) < lum(b) else b,
    "lighter-color": lambda b, s: s if lum(s) > lum(b) else b,
}


def test_every_mode_is_checked_here():
    assert set(BLEND_MODES) == {*SEPARABLE, *NON_SEPARABLE}


@pytest.mark.parametrize("mode", SEPARABLE)
def test_separable_modes_equal_their_formula(mode):
    levels = np.arange(0, 256, 5, dtype=np.float32) / np.float32(255)  # 0, 1 and 0.2 among them
    levels = np.append(levels, np.array([0.25, 0.5, 0.75, 128 / 255], np.float32))
    backdrop, source = (np.repeat(a[None], 3, 0) for a in np.meshgrid(levels, levels))
    got = BLEND_MODES[mode](backdrop, source)
    assert got.dtype == np.float32
    wanted = np.vectorize(SEPARABLE[mode])(backdrop.astype(float), source.astype(float))
    if mode == "hard-mix":  # a jump: which side of it an exact tie falls on is float noise
        at_jump = np.abs(backdrop.astype(float) + source - 1) < 1e-6
        got, wanted = got[~at_jump], wanted[~at_jump]
    np.testing.assert_allclose(got, wanted, atol=2e-6)


# 1e-6 is finer than 16-bit files can hold; far below it float32 itself runs out.
unit = st.floats(0, 1, width=32).map(lambda value: value if value >= 1e-6 else 0.0)
colors = st.tuples(unit, unit, unit)


@pytest.mark.parametrize("mode", NON_SEPARABLE)
@given(backdrop=colors, source=colors)
def test_non_separable_modes_equal_the_pseudo_code(mode, backdrop, source):
    if mode in ("darker-color", "lighter-color") and abs(lum(backdrop) - lum(source)) < 1e-6:
        return  # a jump
    planes = [np.array(c, np.float32).reshape(3, 1, 1) for c in (backdrop, source)]
    got = BLEND_MODES[mode](*planes)
    assert got.dtype == np.float32
    wanted = NON_SEPARABLE[mode](list(backdrop), list(source))
    # 1e-3 of slack only where float32 saturations below 1e-6 are stretched by ClipColor.
    tolerance = 3e-6 if min(sat(backdrop), sat(source)) > 1e-3 else 1e-3
    np.testing.assert_allclose(got[:, 0, 0], wanted, atol=tolerance)


@pytest.mark.parametrize("mode", BLEND_MODES)
def test_modes_agree_with_psd_tools(mode):
    rng = np.random.default_rng(7)
    backdrop, source = rng.integers(0, 256, (2, 3, 64, 64)).astype(np.float32) / np.float32(255)
    if mode == "hard-mix":  # psd-tools breaks exact ties otherwise: docs/compositing.md
        backdrop = np.clip(backdrop + np.float32(0.3 / 255), 0, 1)
    theirs = BLEND_FUNC[BlendMode[mode.upper().replace("-", "_")]](
        np.moveaxis(backdrop, 0, 2).copy(), np.moveaxis(source, 0, 2).copy()
    )
    ours = np.moveaxis(BLEND_MODES[mode](backdrop, source), 0, 2)
    assert np.abs(ours - theirs).max() <= 2 / 255


@pytest.mark.parametrize("mode", BLEND_MODES)
@given(backdrop=colors, source=colors)
def test_arguments_stay_and_results_lie_in_range(mode, backdrop, source):
    planes = [np.array(c, np.float32).reshape(3, 1, 1) for c in (backdrop, source)]
    before = [plane.copy() for plane in planes]
    blended = BLEND_MODES[mode](*planes)
    assert blended.min() >= -1e-6
    assert blended.max() <= 1 + 1e-6
    np.testing.assert_array_equal(planes, before)
