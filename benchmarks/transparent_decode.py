"""Seconds, memory and fidelity of the transparent decode beside the straightforward one, one table.

    python benchmarks/transparent_decode.py [--size 512] [--rounds 2] [--threads 1] [--json FILE]
        [--trained RUN --vae VAE --shards SHARDS]

Straightforward is the published network built from diffusers' own blocks: eight float32 passes, one
after the other. All rows decode the same picture in turns within each round, so that what else the
machine does hits all alike; the least of the rounds counts. Ratios are of CPU seconds, all threads
together. Peak memory is what a decode adds to the process, its weights not counted (Linux only).
Weights are of the published size, 104 M; they are random, because nothing is downloaded here, and
what lower precision or tiles change on them says little of trained ones. "drift" is the largest
change of any value against straightforward.

With --trained, a folder of multiplane.recipes.latent_transparency, its VAE and asset shards, the
last columns hold the price in quality on that (smaller) network: over the soft pixels of held-out
assets, made see-through in parts, how far alpha moves from the straightforward decode's (mean and
99th percentile), and its mean error against the true alpha.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_blocks import (
    AttnDownBlock2D,
    AttnUpBlock2D,
    DownBlock2D,
    UNetMidBlock2D,
    UpBlock2D,
)
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from multiplane.models.latent_transparency import TransparencyDecoder
from multiplane.models.transparent_decode import (
    PASSES,
    DecodeOptions,
    decode_transparent,
    for_inference,
    turned,
    turned_back,
)

WIDTHS = (32, 32, 64, 128, 256, 512, 512)
PLAIN = "straightforward, float32"
Decode = Callable[[Tensor, Tensor], Tensor]


class PlainDecoder(nn.Module):
    """The published network from diffusers' blocks, to compare with. Same tensor names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, WIDTHS[0], 3, padding=1)
        self.latent_conv_in = nn.Conv2d(4, 64, 1)
        same: dict[str, Any] = {"temb_channels": None, "resnet_groups": 4, "resnet_eps": 1e-5}
        heads: dict[str, Any] = {"attention_head_dim": 8}
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(WIDTHS):
            ends: dict[str, Any] = {"in_channels": WIDTHS[max(level - 1, 0)], "out_channels": width}
            if level < 4:
                block = DownBlock2D(**ends, **same, num_layers=2)
            else:
                kind: Any = None if level == len(WIDTHS) - 1 else "conv"
                block = AttnDownBlock2D(**ends, **same, **heads, num_layers=2, downsample_type=kind)
            self.down_blocks.append(block)
        self.mid_block = UNetMidBlock2D(in_channels=WIDTHS[-1], **same, **heads)
        for level in range(len(WIDTHS) - 1, -1, -1):
            ends: dict[str, Any] = {
                "in_channels": WIDTHS[max(level - 1, 0)],
                "prev_output_channel": WIDTHS[min(level + 1, len(WIDTHS) - 1)],
                "out_channels": WIDTHS[level],
            }
            self.up_blocks.append(
                UpBlock2D(**ends, **same, num_layers=3, add_upsample=level > 0)
                if level < 4
                else AttnUpBlock2D(**ends, **same, **heads, num_layers=3, upsample_type="conv")
            )
        self.conv_norm_out = nn.GroupNorm(4, WIDTHS[0], eps=1e-5)
        self.conv_out = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)

    def forward(self, picture: Tensor, latent: Tensor) -> Tensor:
        x = self.conv_in(picture)
        skips: tuple[Tensor, ...] = (x,)
        for level, block in enumerate(self.down_blocks):
            if level == 3:
                x = x + self.latent_conv_in(latent)
            x, more = block(x, None)
            skips += more
        x = self.mid_block(x, None)
        for block in self.up_blocks:
            skips, own = skips[:-3], skips[-3:]
            x = block(x, own, None)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


@torch.no_grad()
def straightforward(network: nn.Module, picture: Tensor, latent: Tensor) -> Tensor:
    """Eight passes, one after the other, and their median."""
    results = [
        turned_back(network(turned(picture, *each), turned(latent, *each)).clamp(0, 1), *each)
        for each in PASSES
    ]
    return torch.stack(results).median(dim=0).values


def published_decoder() -> TransparencyDecoder:
    """The published size, with fixed random weights that leave no part of it idle."""
    torch.manual_seed(0)
    network = TransparencyDecoder().eval().requires_grad_(False)
    nn.init.normal_(network.latent_conv_in.weight, std=0.5)
    return network


def rows(
    decoder: TransparencyDecoder, plain: nn.Module, tile: int | None, overlap: int
) -> dict[str, Decode]:
    """Every way to decode, by its name in the table; `plain` is the one the others are held to.
    tile: None leaves the tiled rows out."""
    exact, fast = for_inference(decoder, "float32"), for_inference(decoder)
    name = str(fast.dtype).removeprefix("torch.")

    def way(network: TransparencyDecoder, options: DecodeOptions) -> Decode:
        return lambda picture, latent: decode_transparent(network, picture, latent, options)

    ways: dict[str, Decode] = {
        PLAIN: lambda picture, latent: straightforward(plain, picture, latent),
        "float32": way(exact, DecodeOptions()),
        f"fast ({name})": way(fast, DecodeOptions()),
        "fast, 4 at once": way(fast, DecodeOptions(together=4)),
    }
    ways |= {f"fast, {count} passes": way(fast, DecodeOptions(count)) for count in (4, 2, 1)}
    if tile is not None:
        tiled = DecodeOptions(tile=tile, overlap=overlap)
        ways[f"fast, {tile} px tiles"] = way(fast, tiled)
    return ways


def mark_memory() -> None:
    """Let the process's memory peak start anew from what it holds now; Linux only."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).malloc_trim(0)  # give back what earlier calls left in the heap
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The process's memory peak since `mark_memory`."""
    return _status("VmHWM") / 1024 if platform.system() == "Linux" else math.nan


def _status(field: str) -> int:
    """A field of this process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(ways: dict[str, Decode], size: int, rounds: int) -> dict[str, dict[str, float]]:
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, size // 16, size // 16, generator=generator)
    picture = F.interpolate(picture, size=(size, size), mode="bicubic").clamp(0, 1)
    latent = torch.randn(1, 4, size // 8, size // 8, generator=generator)
    kinds = ("seconds", "cpu_seconds", "peak_mib")
    figures = {name: dict[str, float]() for name in ways}
    results: dict[str, Tensor] = {}
    for turn in range(rounds):
        for name, decode in ways.items():
            mark_memory()
            held, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
            results[name] = decode(picture, latent)
            spent = time.perf_counter() - wall, time.process_time() - cpu, peak_mib() - held
            for key, value in zip(kinds, spent, strict=True):
                figures[name][key] = min(figures[name].get(key, math.inf), value)
        print(f"round {turn + 1} of {rounds} done", flush=True)
    for name in ways:
        figures[name]["drift"] = float((results[name] - results[PLAIN]).abs().max())
        figures[name]["speed"] = figures[PLAIN]["cpu_seconds"] / figures[name]["cpu_seconds"]
    return figures


def price(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The last columns, by way of decoding, on the trained network."""
    from multiplane.evaluation.alpha import INSIDE, OUTSIDE
    from multiplane.evaluation.latent_transparency import (
        Sources,
        load,
        made_see_through,
        straight_assets,
    )

    model = load(arguments.trained, arguments.vae, arguments.vae_subfolder)
    assert model.decoder is not None
    side = arguments.assets_size
    sources = Sources(arguments.shards, side, limit=arguments.assets)
    truth = made_see_through(straight_assets(sources, "heldout"))
    soft = (truth[:, 3] > OUTSIDE) & (truth[:, 3] < INSIDE)
    with torch.no_grad():
        latents = model.encode(truth)
        pictures = model.decode_picture(latents).clamp(0, 1)
        unscaled = unscaled_latents(model, latents)
    tile = side // 2 if side // 2 >= 2 * model.decoder.multiple else None
    ways = rows(model.decoder, model.decoder, tile, side // 4)
    alphas = {}
    for name, decode in ways.items():
        pairs = zip(pictures.split(1), unscaled.split(1), strict=True)
        alphas[name] = torch.cat([decode(*pair)[:, 0] for pair in pairs])[soft]
    figures = {}
    for name, alpha in alphas.items():
        change = (alpha - alphas[PLAIN]).abs()
        figures[name.replace(f"{tile} px", f"{arguments.tile} px")] = {
            "mean": float(change.mean()),
            "p99": float(change.quantile(0.99)),
            "error": float((alpha - truth[:, 3][soft]).abs().mean()),
        }
    return figures


def unscaled_latents(model: Any, latents: Tensor) -> Tensor:
    from multiplane.models.transparent_vae import unscale_latents

    return unscale_latents(model.vae, latents)


def print_table(report: dict[str, Any]) -> None:
    heads = ("decode", "s", "CPU s", "x faster", "drift", "peak MiB")
    table = Table(*heads, "alpha moves", "99th pct", "alpha error")
    for name, figures in report["rows"].items():
        cells = [
            f"{figures['seconds']:.1f}",
            f"{figures['cpu_seconds']:.2f}",
            f"{figures['speed']:.2f}",
            f"{figures['drift']:.1e}",
            f"{figures['peak_mib']:.0f}",
        ]
        trained = report["trained"].get(name)
        if trained:
            cells += [f"{trained[key]:.4f}" for key in ("mean", "p99", "error")]
        table.add_row(name, *cells)
    console = Console(width=110)
    console.print(table)
    if not report["trained"]:
        console.print("Not trained: the weights are random. --trained fills the quality columns.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tile", type=int, default=320)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--trained", type=Path, help="folder with a trained encoder/ and decoder/")
    parser.add_argument("--vae", help="the VAE they were trained for")
    parser.add_argument("--vae-subfolder", default="")
    parser.add_argument("--shards", type=Path, help="folder of asset shards")
    parser.add_argument("--assets", type=int, default=64, help="held-out assets to measure on")
    parser.add_argument("--assets-size", type=int, default=64)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    if arguments.trained and not (arguments.vae and arguments.shards):
        parser.error("--trained needs --vae and --shards")
    torch.set_num_threads(arguments.threads)
    trained = price(arguments) if arguments.trained else {}
    decoder, plain = published_decoder(), PlainDecoder().eval()
    plain.load_state_dict(decoder.state_dict())
    ways = rows(decoder, plain, arguments.tile, arguments.overlap)
    report = {
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "torch": torch.__version__,
        "size": arguments.size,
        "threads": arguments.threads,
        "rows": measure(ways, arguments.size, arguments.rounds),
        "trained": trained,
    }
    print_table(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
