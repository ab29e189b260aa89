"""What attention sharing costs: the plain UNet, the straightforward form, and ours, in one run.

    python benchmarks/attention_sharing.py [--size 256] [--mode joint] [--dtype float32]
        [--repeats 3] [--json FILE]

A Stable Diffusion 1.5 UNet with random weights makes one step for the streams of one picture (the
conditional half). Straightforward: every stream by itself, its weights merged at every call, the
control convolved at every call, the temporal part layer by layer. The three take turns in every
repeat and the fastest of each counts, in seconds of the processor on a CPU. Operations are
multiply-adds times two, counted by torch.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from multiplane.models.attention_sharing import SharedAttention, SharingConditions
from multiplane.models.attention_sharing_unet import AttentionSharing, shared_attentions
from multiplane.weights.layerdiffuse.published import MODES

CONTROLLED = ("fg2bg", "bg2fg")


class Straightforward:
    """An attention processor that does what the description of a unit says, step by step."""

    def __init__(self, unit: SharedAttention, signals: dict[int, Tensor]) -> None:
        self.unit, self.signals, self.frames = unit, signals, unit.config.frames

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        unit, heads = self.unit, attn.heads
        x = hidden_states.clone()
        for f in range(self.frames):
            part = x[f :: self.frames]
            if unit.config.control:
                signal = unit.control_convs[f](self.signals[part.shape[1]])
                part = part + signal.flatten(2).transpose(1, 2)
            seen = part
            if encoder_hidden_states is not None:
                seen = encoder_hidden_states[f :: self.frames]
            q = F.linear(part, self.weight("to_q", f, attn.to_q))
            k = F.linear(seen, self.weight("to_k", f, attn.to_k))
            v = F.linear(seen, self.weight("to_v", f, attn.to_v))
            out: Any = attn.to_out[0]  # pyright: ignore[reportOptionalSubscript]
            attended = attention(q, k, v, heads)
            x[f :: self.frames] = part + F.linear(attended, self.weight("to_out", f, out), out.bias)
        z = self.temporal("i", unit.temporal_n(x))
        batch, tokens, width = z.shape
        places = z.view(-1, self.frames, tokens, width).transpose(1, 2).flatten(0, 1)
        q, k, v = (self.temporal(name, places) for name in "qkv")
        shared = self.temporal("o", attention(q, k, v, heads))
        back = shared.view(-1, tokens, self.frames, width).transpose(1, 2)
        return x + back.reshape(batch, tokens, width) - hidden_states

    def weight(self, name: str, stream: int, frozen: Any) -> Tensor:
        up = self.unit.get_parameter(f"{name}_lora.{stream}.up.weight")
        down = self.unit.get_parameter(f"{name}_lora.{stream}.down.weight")
        return frozen.weight + up @ down

    def temporal(self, name: str, x: Tensor) -> Tensor:
        return self.unit.get_submodule(f"temporal_{name}")(x)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention over the second axis of (B, N, C)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def randomized(network: Any, generator: torch.Generator, device: str, dtype: torch.dtype) -> Any:
    """Weights of a network on the meta device: matrices keep the size of what goes through them
    (the changes of the projections are small), biases are zero, gains one."""
    network.to_empty(device="cpu")
    for name, value in network.named_parameters():
        if value.ndim >= 2:
            scale = 0.02 if "_lora" in name else value[0].numel() ** -0.5
            value.data.normal_(0.0, scale, generator=generator)
        else:
            value.data.fill_(float(name.endswith("weight")))
    nn.Module.to(network, device, dtype)
    return network.eval().requires_grad_(False)


class Forms:
    """One UNet, one set of units, and the three ways to make a step with them."""

    def __init__(self, mode: str, size: int, dtype: torch.dtype, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        frames, controlled = len(MODES[mode].streams), mode in CONTROLLED
        with torch.device("meta"):
            unet = UNet2DConditionModel(cross_attention_dim=768)
            sharing = AttentionSharing.for_unet(unet, frames, rank=256, control=controlled)
        self.unet = randomized(unet, generator, device, dtype)
        self.sharing = randomized(sharing, generator, device, dtype)
        signals: dict[int, Tensor] = {}
        if controlled:
            picture = torch.rand(1, 3, size, size, generator=generator) * 2 - 1
            signals = self.sharing.encode_condition(picture)
        self.conditions = SharingConditions(signals=signals)
        self.attentions = shared_attentions(unet)
        self.simple = [Straightforward(unit, signals) for unit in self.sharing.units()]

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(device, dtype)

        self.inputs = (
            draw(frames, 4, size // 8, size // 8),
            torch.tensor(500, device=device),
            draw(frames, 77, 768),
        )

    def plain(self) -> Tensor:
        return self.unet(*self.inputs, return_dict=False)[0]

    def straightforward(self) -> Tensor:
        before = [each.processor for each in self.attentions]
        for each, processor in zip(self.attentions, self.simple, strict=True):
            each.set_processor(processor)  # pyright: ignore[reportArgumentType]
        out = self.plain()
        for each, processor in zip(self.attentions, before, strict=True):
            each.set_processor(processor)
        return out

    def merged(self) -> Tensor:
        self.sharing.install(self.unet)
        self.sharing.conditions = self.conditions
        out = self.plain()
        self.sharing.uninstall(self.unet)
        return out


def counted(run: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """(output, operations) of one call."""
    counter = FlopCounterMode(display=False)
    with counter:
        out = run()
    return out, counter.get_total_flops()


def timed(run: Callable[[], Tensor], device: str) -> tuple[Tensor, float]:
    """(output, seconds): of the processor on a CPU, so that other programs do not count; of the
    clock elsewhere."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    out = run()
    if device != "cpu":
        torch.cuda.synchronize()
    return out, clock() - start


@torch.no_grad()
def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds (fastest of the repeats), operations and disagreement of the three forms."""
    dtype, device = getattr(torch, arguments.dtype), arguments.device
    forms = Forms(arguments.mode, arguments.size, dtype, device)
    runs = {
        "plain UNet": forms.plain,
        "straightforward": forms.straightforward,
        "merged": forms.merged,
    }
    merging = timed(forms.merged, device)[1]
    first = {name: counted(run) for name, run in runs.items()}
    outputs = {name: out for name, (out, _) in first.items()}
    operations = {name: count for name, (_, count) in first.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            times[name].append(timed(run, device)[1])
    fastest = {name: min(each) for name, each in times.items()}
    base, base_operations = fastest["plain UNet"], operations["plain UNet"]
    return {
        "mode": arguments.mode,
        "size": arguments.size,
        "streams": forms.sharing.frames,
        "dtype": arguments.dtype,
        "threads": torch.get_num_threads(),
        "first call, with merging": merging,
        "disagreement": float((outputs["merged"] - outputs["straightforward"]).abs().max()),
        "output deviation": float(outputs["merged"].std()),
        "forms": {
            name: {
                "seconds": fastest[name],
                "over plain": fastest[name] / base - 1,
                "gflop": operations[name] / 1e9,
                "gflop over plain": operations[name] / base_operations - 1,
            }
            for name in runs
        },
    }


def show(result: dict[str, Any]) -> None:
    table = Table(
        title=f"{result['mode']}: {result['streams']} streams at {result['size']} px, "
        f"{result['dtype']}, {result['threads']} thread(s)"
    )
    for column in ("form", "seconds a step", "over plain", "GFLOP", "over plain"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for name, row in result["forms"].items():
        table.add_row(
            name,
            f"{row['seconds']:.2f}",
            f"{row['over plain']:+.1%}",
            f"{row['gflop']:.0f}",
            f"{row['gflop over plain']:+.1%}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"merging, once: first call {result['first call, with merging']:.2f} s; largest difference "
        f"between the two forms {result['disagreement']:.1e} (outputs deviate by "
        f"{result['output deviation']:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--size", type=int, default=256, help="picture side in pixels, times 64")
    parser.add_argument("--mode", choices=("transparent", "joint", *CONTROLLED), default="joint")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    result = measure(arguments)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
