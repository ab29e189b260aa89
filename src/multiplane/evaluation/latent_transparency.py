"""How well a frozen VAE's latents carry transparency, on held-out assets.

    python -m multiplane.evaluation.latent_transparency RUN --vae VAE --shards SHARDS -o OUT

RUN: folder of multiplane.recipes.latent_transparency (encoder/, decoder/). SHARDS: folder of asset
shards. Every asset is measured as it is and once more made see-through by a ramp of opacity, which
few assets have of their own. Two other ways to get alpha through the same VAE stand beside:

"cut from grey": the flat picture alone; a pixel is solid where its colour is far from mid grey, by
the distance that errs least on training assets. "alpha as a picture": padded colour and alpha as
two pictures, so twice the latents. "its offset dropped" is the trained decoder on the plain latent:
what it can tell from the flat picture alone.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multiplane.data.assets import read_assets
from multiplane.evaluation.alpha import INSIDE, OUTSIDE, psnr, solid_background_psnr
from multiplane.evaluation.sheets import Cell, SheetRow, save_sheet, table
from multiplane.evaluation.suite import write_json
from multiplane.models.frozen_vae import load_frozen_vae
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.planes import premultiply, unpremultiply
from multiplane.models.transparent_vae import TransparentVAE, padded_picture, scale_latents
from multiplane.training.latent_transparency import see_through

log = logging.getLogger(__name__)
BATCH = 32
SHOWN = 6  # columns of each set on the sheet
Array = NDArray[np.floating]


@dataclass(frozen=True)
class Sources:
    """What is measured on. limit: at most this many assets; None is all."""

    shards: Path
    size: int = 64
    styles: tuple[str, ...] = ("3d", "clipart")
    limit: int | None = None


def straight_assets(sources: Sources, split: str) -> Tensor:
    """(N, 4, S, S) straight in 0..1, a limit's worth spread evenly over the split."""
    pool = read_assets(sources.shards, ("foreground",), split, sources.size, sources.styles)
    pixels = torch.from_numpy(pool.pixels).float() / 255
    if sources.limit is not None and sources.limit < len(pixels):
        rows = torch.linspace(0, len(pixels) - 1, sources.limit).round().long()
        pixels = pixels[rows]
    return pixels


def made_see_through(straight: Tensor) -> Tensor:
    """The same pictures under a ramp of opacity each, always the same."""
    generator = torch.Generator().manual_seed(0)
    return unpremultiply(see_through(premultiply(straight), generator))


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    return torch.cat([function(part) for part in values.split(BATCH)])


def plain_decode(model: TransparentVAE, pictures: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 -> through the VAE alone and back, clipped."""
    mean, _ = model.posterior(pictures * 2 - 1)
    decoded = model.vae.decode(mean, return_dict=False)[0]  # pyright: ignore
    return (decoded.float() * 0.5 + 0.5).clamp(0, 1)


def flat(straight: Tensor) -> Tensor:
    """(B, 4, H, W) -> (B, 3, H, W) over mid grey."""
    return straight[:, :3] * straight[:, 3:] + 0.5 * (1 - straight[:, 3:])


def distance_from_grey(decoded: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W) the largest difference of a channel from mid grey."""
    return (decoded - 0.5).abs().amax(dim=1, keepdim=True)


def best_threshold(decoded: Tensor, alpha: Tensor) -> float:
    """The distance that cuts alpha from these decoded pictures with the least mean error."""
    distance = distance_from_grey(decoded)
    found = torch.linspace(0.01, 0.3, 59)
    errors = [float(((distance > each).float() - alpha).abs().mean()) for each in found]
    return float(found[int(np.argmin(errors))])


def cut_from_grey(decoded: Tensor, threshold: float) -> Tensor:
    """(B, 3, H, W) -> (B, 4, H, W) straight, alpha 0 or 1."""
    return torch.cat([decoded, (distance_from_grey(decoded) > threshold).float()], dim=1)


def alpha_as_picture(model: TransparentVAE, straight: Tensor) -> Tensor:
    """Padded colour and alpha each through the VAE: (B, 4, H, W) straight."""
    color = plain_decode(model, padded_picture(straight)[:, :3].clamp(0, 1))
    alpha = plain_decode(model, straight[:, 3:].expand(-1, 3, -1, -1))
    return torch.cat([color, alpha.mean(dim=1, keepdim=True)], dim=1)


def offset_dropped(model: TransparentVAE, straight: Tensor) -> Tensor:
    """The trained decoder on the VAE's plain latent: (B, 4, H, W) straight."""
    mean, _ = model.posterior(flat(straight) * 2 - 1)
    return model.decode(scale_latents(model.vae, mean))


def channels_last(pictures: Tensor) -> Array:
    return pictures.permute(0, 2, 3, 1).double().numpy()


def reconstruction_figures(made: Tensor, truth: Tensor) -> dict[str, float]:
    """Means over pictures (B, 4, H, W) straight in 0..1. Alpha's errors are over all pixels, and
    over those of all pictures whose true alpha is soft; colour's is over what is visible."""
    pairs = list(zip(channels_last(made), channels_last(truth), strict=True))
    soft = (truth[:, 3] > OUTSIDE) & (truth[:, 3] < INSIDE)
    difference = (made[:, 3] - truth[:, 3]).abs()
    visible = [(a[..., :3][b[..., 3] > OUTSIDE], b[..., :3][b[..., 3] > OUTSIDE]) for a, b in pairs]
    premul = zip(channels_last(premultiply(made)), channels_last(premultiply(truth)), strict=True)
    return {
        "alpha mae": float(difference.mean()),
        "alpha mae, soft pixels": float(difference[soft].mean()),
        "soft pixels": float(soft.double().mean()),
        "psnr, alpha": mean_psnr((a[..., 3], b[..., 3]) for a, b in pairs),
        "psnr, visible colour": mean_psnr(visible),
        "psnr, premultiplied": mean_psnr(premul),
        "psnr, nine backgrounds": float(np.mean([solid_background_psnr(a, b) for a, b in pairs])),
    }


def mean_psnr(pairs: Any) -> float:
    return float(np.mean([psnr(a, b) for a, b in pairs]))


def harm_figures(model: TransparentVAE, straight: Tensor) -> tuple[dict[str, float], list[Tensor]]:
    """What the offset does to the VAE's own decode; and that decode without and with it."""
    truth = flat(straight)
    without = in_batches(lambda each: plain_decode(model, each), truth)
    with_offset = in_batches(
        lambda each: model.decode_picture(model.encode(each)).clamp(0, 1), straight
    )
    arrays = [channels_last(each) for each in (without, with_offset, truth)]
    return {
        "psnr of the decode, without offset": mean_psnr(zip(arrays[0], arrays[2], strict=True)),
        "psnr of the decode, with offset": mean_psnr(zip(arrays[1], arrays[2], strict=True)),
        "psnr of one decode to the other": mean_psnr(zip(arrays[0], arrays[1], strict=True)),
    }, [without, with_offset]


def evaluate(model: TransparentVAE, sources: Sources, out: Path) -> dict[str, Any]:
    """The figures, also written to `out`/latent_transparency.json, with a sheet beside."""
    few = Sources(sources.shards, sources.size, sources.styles, 256)
    training = straight_assets(few, "train")
    decoded = in_batches(lambda each: plain_decode(model, each), flat(training))
    threshold = best_threshold(decoded, training[:, 3:])
    heldout = straight_assets(sources, "heldout")
    report: dict[str, Any] = {"assets": len(heldout), "threshold": threshold}
    columns = []
    for name, truth in (("as they are", heldout), ("see-through", made_see_through(heldout))):
        harm, decodes = harm_figures(model, truth)
        made = {
            "latent transparency": in_batches(lambda x: model.decode(model.encode(x)), truth),
            "its offset dropped": in_batches(lambda x: offset_dropped(model, x), truth),
            "alpha as a picture": in_batches(lambda x: alpha_as_picture(model, x), truth),
            "cut from grey": cut_from_grey(decodes[0], threshold),
        }
        figures = {way: reconstruction_figures(each, truth) for way, each in made.items()}
        report[name] = {"reconstruction": figures, "harm": harm}
        shown = torch.linspace(0, len(truth) - 1, min(SHOWN, len(truth))).round().long()
        rows = {"truth": truth, **made, "VAE's decode": decodes[0], "with offset": decodes[1]}
        columns.append({label: channels_last(row[shown]) for label, row in rows.items()})
    write_json(out / "latent_transparency.json", report)
    rows = [
        SheetRow(label, [Cell(picture) for part in columns for picture in part[label]])
        for label in columns[0]
    ]
    note = f"Held-out assets at {sources.size} px, spread evenly, not picked; right half made "
    note += "see-through by a ramp of opacity. The last two rows are what the VAE alone decodes."
    sheet = table(rows, "Latent transparency on a frozen VAE", note, side=96)
    save_sheet(sheet, out / "latent_transparency.png")
    return report


def load(run: Path, vae: str, subfolder: str = "") -> TransparentVAE:
    """The networks of a run around the VAE they were trained for."""
    return TransparentVAE(
        load_frozen_vae(vae, subfolder),
        OffsetEncoder.from_pretrained(run / "encoder").eval(),
        TransparencyDecoder.from_pretrained(run / "decoder").eval(),
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--vae", required=True)
    parser.add_argument("--vae-subfolder", default="")
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--out", "-o", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    model = load(given.run, given.vae, given.vae_subfolder)
    sources = Sources(given.shards, given.size, limit=given.limit)
    report = evaluate(model, sources, given.out)
    for name in ("as they are", "see-through"):
        for way, figures in report[name]["reconstruction"].items():
            told = ", ".join(f"{what} {value:.4g}" for what, value in figures.items())
            log.info("%s, %s: %s", name, way, told)
        log.info("%s, harm: %s", name, report[name]["harm"])


if __name__ == "__main__":
    main()
