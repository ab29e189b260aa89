"""Does a base model fit? Where the result is clear, the plain decode must be mid grey.

LayerDiffuse's latents are those of the premultiplied picture in [-1, 1], so a clear pixel is 0:
grey 127. Base models too far from the one the weights were trained on (Illustrious, NoobAI,
Animagine 4, v-prediction models) leave a tinted or solid area there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

CLEAR = 1 / 255  # alpha up to here counts as clear
LEAST_AREA = 0.005  # clearer pixels than this part of the picture are needed for a verdict
GREY = 127
# Users who force the area grey by prompt name the shades 0x757575 to 0x898989.
TOLERANCE = 10
WORKAROUND = "plain neutral grey background"


@dataclass(frozen=True)
class GreyCheck:
    """The plain decode under clear pixels.

    clear_area: part of the picture that is clear, 0..1. colour: its mean, 8-bit levels; None where
    there is too little of it to tell. spread: root mean square distance from `colour`, levels."""

    clear_area: float
    colour: tuple[float, float, float] | None
    spread: float | None

    @property
    def fits(self) -> bool:
        """Whether there is a clear area and it is mid grey."""
        return self.colour is not None and all(
            abs(level - GREY) <= TOLERANCE for level in self.colour
        )

    @property
    def complaint(self) -> str | None:
        """What to tell the user; None where the base fits."""
        if self.fits:
            return None
        if self.colour is None:
            return (
                f"only {self.clear_area:.1%} of the picture came out clear. If the prompt does not "
                "fill the frame, the base model may not fit LayerDiffuse's weights: try SDXL or "
                f"SD1.5 models near the originals, or add {WORKAROUND!r} to the prompt"
            )
        red, green, blue = (round(level) for level in self.colour)
        return (
            "the base model does not fit LayerDiffuse's weights: behind the clear pixels it paints "
            f"({red}, {green}, {blue}) where mid grey ({GREY}, {GREY}, {GREY}) belongs, so colours "
            "and edges will be off. Take a base nearer to the original SDXL or SD1.5, or add "
            f"{WORKAROUND!r} (#757575 to #898989) to the prompt"
        )


def check_grey(alpha: Tensor, flat: Tensor) -> GreyCheck:
    """alpha: (1, H, W) in [0, 1]. flat: (3, H, W) plain decode in [0, 1]."""
    clear = alpha[0] <= CLEAR
    area = float(clear.float().mean())
    if area < LEAST_AREA:
        return GreyCheck(area, None, None)
    levels = flat.float()[:, clear] * 255  # (3, n)
    mean = levels.mean(dim=1)
    spread = (levels - mean[:, None]).square().sum(dim=0).mean().sqrt()
    red, green, blue = (float(level) for level in mean)
    return GreyCheck(area, (red, green, blue), float(spread))
