"""Random layered documents for property tests."""

import numpy as np
from hypothesis import strategies as st

from multiplane.core.blend import BLEND_MODES
from multiplane.core.document import Group, Layer, LayerDocument, Mask

# Hard Mix jumps, so two correct compositors may differ there by all there is.
SMOOTH_MODES = sorted(set(BLEND_MODES) - {"hard-mix"})
# Saturation of nearly grey colours and tiny divisors magnify float noise in these.
STEEP_MODES = {"hue", "saturation", "color-burn", "color-dodge", "vivid-light", "divide"}
STEEP_MODES |= {"darker-color", "lighter-color"}


def random_pixels(rng, width, height, dtype=np.uint8):
    """Pixels with clear, opaque and soft alpha, colour under alpha 0 included."""
    values = rng.random((height, width, 4))
    kind = rng.random((height, width))
    values[..., 3] = np.where(kind < 0.3, 0.0, np.where(kind < 0.6, 1.0, values[..., 3]))
    if rng.random() < 0.2:
        values[..., 3] = 1.0
    if dtype == np.float32:
        return values.astype(np.float32)
    return np.round(values * np.iinfo(dtype).max).astype(dtype)


@st.composite
def documents(draw, modes=SMOOTH_MODES, dtypes=(np.uint8, np.uint16, np.float32), depth=2):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (draw(st.integers(1, 12)), draw(st.integers(1, 9)))
    offsets = st.tuples(st.integers(-6, 12), st.integers(-6, 9))
    sides = st.integers(1, 14)
    opacities = st.sampled_from([1.0, 1.0, 0.5, 0.3, 0.0])

    def mask():
        if draw(st.integers(0, 2)) > 0:
            return None
        pixels = rng.integers(0, 256, (draw(sides), draw(sides))).astype(np.uint8)
        outside = draw(st.sampled_from([0.0, 1.0, 0.25]))
        return Mask(pixels, draw(offsets), outside, enabled=draw(st.booleans()))

    def common():
        return {
            "opacity": draw(opacities),
            "visible": draw(st.integers(0, 5)) > 0,
            "mask": mask(),
            "clip": draw(st.integers(0, 3)) == 0,
        }

    def nodes(depth):
        made = []
        for index in range(draw(st.integers(1, 4))):
            if depth and draw(st.integers(0, 3)) == 0:
                blend = draw(st.sampled_from(["pass-through", "pass-through", *modes]))
                made.append(Group(f"g{index}", nodes(depth - 1), blend=blend, **common()))
            else:
                dtype = draw(st.sampled_from(dtypes))
                pixels = random_pixels(rng, draw(sides), draw(sides), dtype)
                blend = draw(st.sampled_from(["normal", *modes]))
                made.append(Layer(f"l{index}", pixels, draw(offsets), blend=blend, **common()))
        return tuple(made)

    return LayerDocument(size, nodes(depth))
