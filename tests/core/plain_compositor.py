"""An oracle: the W3C compositing formulas on whole float64 canvases, with nothing made fast.

Written from the specification, in straight alpha, one node at a time; shares no code with
`multiplane.core` but the documents it reads and the blend functions (which have their own oracle).
"""

import numpy as np

from multiplane.core.blend import BLEND_MODES
from multiplane.core.document import Group, Layer

SCALE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


def place(values, offset, size, outside=0.0):
    """Stored values on a canvas of `size` = (width, height), pixel by pixel."""
    width, height = size
    canvas = np.full((height, width, *values.shape[2:]), outside, dtype=np.float64)
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            x, y = column + offset[0], row + offset[1]
            if 0 <= x < width and 0 <= y < height:
                canvas[y, x] = values[row, column] / SCALE[str(values.dtype)]
    return canvas


def coverage(node, size):
    mask = node.mask
    if mask is None or not mask.enabled:
        return np.full(size[::-1], node.opacity)
    return node.opacity * place(mask.pixels, mask.offset, size, mask.outside)


def blended(mode, backdrop, source):
    planes = [np.moveaxis(c, 2, 0).astype(np.float32) for c in (backdrop, source)]
    return np.moveaxis(BLEND_MODES[mode](*planes), 0, 2).astype(np.float64)


def paint(color_b, alpha_b, color_s, alpha_s, mode):
    """Section 10: Cs = (1 - ab) Cs + ab B(Cb, Cs), then source-over of section 9.1.4."""
    ab, as_ = alpha_b[..., None], alpha_s[..., None]
    mixed = (1 - ab) * color_s + ab * blended(mode, color_b, color_s)
    premul = as_ * mixed + (1 - as_) * ab * color_b
    alpha = alpha_s + alpha_b * (1 - alpha_s)
    with np.errstate(invalid="ignore"):
        color = np.where(alpha[..., None] > 0, premul / alpha[..., None], 0.0)
    return color, alpha


def source_of(node, size):
    """(colour, alpha) of a layer, or of a group on its own."""
    if isinstance(node, Layer):
        canvas = place(node.pixels, node.offset, size)
        color, alpha = canvas[..., :3], canvas[..., 3]
    else:
        color, alpha = paint_nodes(node.layers, *clear(size), size)
    return color, alpha * coverage(node, size)


def clear(size):
    return np.zeros((size[1], size[0], 3)), np.zeros((size[1], size[0]))


def paint_nodes(nodes, color, alpha, size):
    stacks = []
    for node in nodes:
        if not node.clip:
            stacks.append((node, []))
        elif stacks:
            stacks[-1][1].append(node)
    for base, clipped in stacks:
        if not base.visible:
            continue
        if isinstance(base, Group) and base.blend == "pass-through" and not clipped:
            inner_color, inner_alpha = paint_nodes(base.layers, color, alpha, size)
            share = coverage(base, size)
            premul = (1 - share * 1.0)[..., None] * alpha[..., None] * color
            premul = premul + share[..., None] * inner_alpha[..., None] * inner_color
            alpha = (1 - share) * alpha + share * inner_alpha
            with np.errstate(invalid="ignore"):
                color = np.where(alpha[..., None] > 0, premul / alpha[..., None], 0.0)
            continue
        base_color, base_alpha = source_of(base, size)
        for node in clipped:
            if node.visible:
                over_color, over_alpha = source_of(node, size)
                mixed = blended(mode_of(node), base_color, over_color)
                base_color = base_color + over_alpha[..., None] * (mixed - base_color)
        color, alpha = paint(color, alpha, base_color, base_alpha, mode_of(base))
    return color, alpha


def mode_of(node):
    return "normal" if node.blend == "pass-through" else node.blend


def compose(document):
    """(H, W, 4) float64, straight alpha, in the document's own space."""
    color, alpha = paint_nodes(document.layers, *clear(document.size), document.size)
    return np.concatenate([color, alpha[..., None]], axis=2)
