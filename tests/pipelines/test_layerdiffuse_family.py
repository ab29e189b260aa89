"""LayerDiffuse through `LayerRequest`, on small models with files in the published formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

from layerdiffuse_files import forge_lora, forge_offsets, write
from multiplane.core.request import RequestError, Task
from multiplane.engine import Model
from multiplane.models.attention_sharing_unet import AttentionSharing
from multiplane.models.latent_transparency import OffsetEncoder, TransparencyDecoder
from multiplane.models.precision import preferred_dtype
from multiplane.pipelines.layerdiffuse.family import (
    CONFIG,
    LayerDiffuseFamily,
    LayerDiffuseSD15Family,
    LayerDiffuseXLFamily,
)
from small_diffusion import controlnet, sd15, sdxl, seeded

SIZE = (72, 56)  # (width, height), no multiple of 64


def transparency_files(folder: Path) -> None:
    decoder = seeded(lambda: TransparencyDecoder((8, 8, 8, 8, 16, 16, 16), attention_levels=1), 8)
    encoder = seeded(lambda: OffsetEncoder((8, 8, 8, 8)), 9)
    torch.nn.init.normal_(encoder.blocks[-1].weight, std=0.1)
    for name, network in (("decoder", decoder), ("encoder", encoder)):
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, folder / f"vae_transparent_{name}.safetensors")


CONFIG_TEXT = """
base = "base"
modes = {{ {modes} }}
transparency_decoder = "vae_transparent_decoder.safetensors"
transparency_encoder = "vae_transparent_encoder.safetensors"
controlnets = {{ edges = "edges" }}
device = "cpu"
steps = 2
"""


def write_config(folder: Path, modes: dict[str, str]) -> None:
    text = ", ".join(f'{mode} = "{file}.safetensors"' for mode, file in modes.items())
    (folder / CONFIG).write_text(CONFIG_TEXT.format(modes=text), encoding="utf-8")


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xl")
    parts = sdxl()
    StableDiffusionXLPipeline(**parts, add_watermarker=False).save_pretrained(folder / "base")
    controlnet(parts["unet"]).save_pretrained(folder / "edges")
    unet = parts["unet"]
    files = {
        "transparent": ("layer_xl_transparent_attn", forge_lora(unet)),
        "fg2blend": ("layer_xl_fg2ble", forge_offsets(unet, "convolutions", 8, 1)),
        "bg2blend": ("layer_xl_bg2ble", forge_offsets(unet, "convolutions", 8, 2)),
        "fgblend2bg": ("layer_xl_fgble2bg", forge_offsets(unet, "convolutions", 12, 3)),
        "bgblend2fg": ("layer_xl_bgble2fg", forge_offsets(unet, "body", 12, 4)),
    }
    for name, tensors in files.values():
        write(folder, name, tensors)
    transparency_files(folder)
    write_config(folder, {mode: name for mode, (name, _) in files.items()})
    return folder


@pytest.fixture(scope="module")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd15")
    parts = sd15()
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.save_pretrained(folder / "base")
    controlnet(parts["unet"]).save_pretrained(folder / "edges")
    modes = {}
    for mode, frames, control in (
        ("transparent", 1, False),
        ("joint", 3, False),
        ("fg2bg", 2, True),
        ("bg2fg", 2, True),
    ):
        units = seeded(
            lambda f=frames, c=control: AttentionSharing.for_unet(
                parts["unet"], f, rank=2, control=c
            ),
            len(modes),
        )
        modes[mode] = f"layer_sd15_{mode}"
        write(folder, modes[mode], units.published_state())
    transparency_files(folder)
    write_config(folder, modes)
    return folder


@pytest.fixture(scope="module")
def xl(xl_folder: Path) -> Model:
    return Model(LayerDiffuseXLFamily.load(xl_folder))


@pytest.fixture(scope="module")
def small15(sd15_folder: Path) -> Model:
    return Model(LayerDiffuseSD15Family.load(sd15_folder))


def picture(seed: int, alpha: bool) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 4), dtype=np.uint8)
    if not alpha:
        pixels[..., 3] = 255
    return pixels


GIVEN = {
    "foreground": picture(1, alpha=True),
    "background": picture(2, alpha=False),
    "composite": picture(3, alpha=False),
}


def test_a_configuration_may_ask_for_the_fast_decoder(xl: Model, xl_folder: Path) -> None:
    path = xl_folder / "fast.toml"
    text = (xl_folder / CONFIG).read_text("utf-8")
    path.write_text(f"fast_decode = true\n{text}", "utf-8")
    for model, dtype in (
        (xl, torch.float32),
        (Model(LayerDiffuseXLFamily.load(path)), preferred_dtype()),
    ):
        assert isinstance(model.family, LayerDiffuseFamily)
        decoder = model.family.pipeline.transparency_decoder
        assert decoder is not None
        assert decoder.dtype == dtype


@pytest.mark.parametrize("row", LayerDiffuseXLFamily.rows, ids=lambda row: str(row.task))
def test_every_pair_of_sdxl(xl: Model, row) -> None:
    answers(xl, row.task)


@pytest.mark.parametrize("row", LayerDiffuseSD15Family.rows, ids=lambda row: str(row.task))
def test_every_pair_of_sd15(small15: Model, row) -> None:
    answers(small15, row.task)


def answers(model: Model, task: Task) -> None:
    """The request falls into `task`, is answered at its size, and given planes keep their bytes."""
    planes = {name: GIVEN[name] for name in task.given}
    planes |= {name: f"a {name}" for name in task.wanted}
    absent = {name: None for name in GIVEN if name not in planes}
    request = model.request(**planes, **absent, size=SIZE, seed=5)
    assert request.task == task
    document = model.run(request)
    assert document.size == SIZE
    layers = {layer.name: layer for layer in document.layers}
    if "foreground" in task.given and "composite" not in task.given:
        assert any(np.array_equal(layer.pixels, GIVEN["foreground"]) for layer in layers.values())
    again = model.run(request)
    assert [a.pixels.tobytes() for a in document.layers] == [
        b.pixels.tobytes() for b in again.layers
    ]


def test_foregrounds_are_stacked_one_by_one(xl: Model) -> None:
    document = xl.generate(["a cat", "a ball"], GIVEN["background"], size=SIZE, seed=1)
    assert len(document.layers) == 3
    assert np.array_equal(document.layers[0].pixels, GIVEN["background"])
    reports = document.provenance.report["stages"]
    assert [each["family"]["mode"] for each in reports] == ["bg2fg", "bg2fg"]


def test_inpainting_keeps_bytes(xl: Model) -> None:
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[:, 36:] = 255
    document = xl.generate(
        GIVEN["foreground"], mask=mask, prompt="a cat", background=None, composite=None, seed=2
    )
    made = document.layers[0].pixels
    assert np.array_equal(made[:, :36], GIVEN["foreground"][:, :36])
    assert not np.array_equal(made[:, 36:], GIVEN["foreground"][:, 36:])


def test_the_base_alone_paints_and_inpaints(xl: Model) -> None:
    """A flat picture is the base's own, whatever weights are there; kept pixels stay."""
    flat = xl.generate(composite="a street", foreground=None, background=None, size=SIZE, seed=4)
    pipeline = xl.family.pipeline
    plain = StableDiffusionXLPipeline(
        **{k: v for k, v in pipeline.components.items() if not k.startswith(("transp", "control"))},
        add_watermarker=False,
    )
    alone = plain(
        "a street",
        negative_prompt="bad, ugly",
        width=128,
        height=64,
        num_inference_steps=2,
        guidance_scale=7.0,
        generator=torch.Generator().manual_seed(4),
        output_type="np",
    ).images[0]
    inner = alone[4:60, 28:100]  # the picture lies in the middle of one of 128 x 64
    assert np.abs(flat.layers[0].pixels[..., :3] / 255 - inner).max() < 2 / 255
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[:20] = 255
    kept = xl.generate(
        composite=GIVEN["composite"], foreground=None, background=None, mask=mask, seed=4
    )
    assert np.array_equal(kept.layers[0].pixels[20:], GIVEN["composite"][20:])


def test_a_control_steers_and_needs_its_net(xl: Model) -> None:
    edges = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    edges[20:30] = 255
    plain = xl.generate("a cat", size=SIZE, seed=3)
    steered = xl.generate("a cat", edges=edges, size=SIZE, seed=3)
    assert not np.array_equal(plain.layers[0].pixels, steered.layers[0].pixels)
    with pytest.raises(RequestError, match="no ControlNet for 'silhouette'"):
        xl.generate("a cat", silhouette=edges, size=SIZE, seed=3)


def test_options_reach_the_run(xl: Model) -> None:
    document = xl.generate(
        "a cat",
        size=SIZE,
        seed=3,
        options={"scheduler": "EulerAncestralDiscreteScheduler", "passes": 1},
    )
    report = document.provenance.report["family"]
    assert report["scheduler"] == "EulerAncestralDiscreteScheduler"
    assert report["passes"] == 1
    assert type(xl.family.pipeline.scheduler).__name__ == "EulerDiscreteScheduler"
    assert set(report["base_fits"]) == {"foreground"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shceduler": "x"}, "unknown key 'shceduler'"),
        ({"scheduler": "Euler"}, "no scheduler of diffusers"),
        ({"passes": 3}, "passes must be 1, 2, 4 or 8"),
        ({"hires": 0.5}, "scale must be at least 1"),
        ({"stop_at": 2.0}, "stop_at must be 0..1"),
    ],
)
def test_what_options_cannot_be(xl: Model, options: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        xl.generate("a cat", size=SIZE, options=options)


def test_only_so_many_modes_stay_loaded(xl_folder: Path) -> None:
    family = LayerDiffuseXLFamily.load(xl_folder)
    model = Model(family)
    loaded = family.pipeline.mode_weights
    model.generate(GIVEN["foreground"], background="a hill", size=SIZE, seed=1)
    assert list(loaded) == ["fg2blend", "fgblend2bg"]
    first = model.generate("a cat", size=SIZE, seed=1)
    assert list(loaded) == ["fg2blend", "fgblend2bg", "transparent"]
    model.generate("a cat", GIVEN["background"], size=SIZE, seed=1)
    assert set(loaded) == {"transparent", "bg2blend", "bgblend2fg"}
    model.generate("a cat", "a hill", size=SIZE, seed=1)  # three steps: the others go
    assert set(loaded) == {"transparent", "fg2blend", "fgblend2bg"}
    again = model.generate("a cat", size=SIZE, seed=1)
    assert np.array_equal(first.layers[0].pixels, again.layers[0].pixels)


def test_only_pairs_with_weights(xl_folder: Path, tmp_path: Path) -> None:
    text = (xl_folder / CONFIG).read_text(encoding="utf-8")
    text = text.replace('"base"', f'"{xl_folder / "base"}"')
    line = next(line for line in text.splitlines() if line.startswith("modes"))
    few = f'modes = {{ fg2blend = "{xl_folder / "layer_xl_fg2ble.safetensors"}" }}'
    path = tmp_path / "few.toml"
    text = text.replace(line, few).replace("vae_transparent", f"{xl_folder}/vae_transparent")
    path.write_text(text, encoding="utf-8")
    family = LayerDiffuseXLFamily.load(path)
    assert family.tasks == {Task.of("-> composite")}  # what the base alone does
    with pytest.raises(RequestError, match="cannot do '-> foreground'"):
        Model(family).generate("a cat", size=SIZE)


def test_a_saved_pipeline_is_a_family(xl: Model, tmp_path: Path) -> None:
    made = xl.generate("a cat", size=SIZE, seed=3)
    assert isinstance(xl.family, LayerDiffuseFamily)
    xl.family.pipeline.save_pretrained(tmp_path)
    again = Model(LayerDiffuseXLFamily.load(tmp_path))
    assert Task.of("-> foreground") in again.tasks
    remade = again.generate("a cat", size=SIZE, seed=3, steps=2)
    assert np.array_equal(made.layers[0].pixels, remade.layers[0].pixels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "base"\nmodes = { fg2bg = "x" }', "unknown mode 'fg2bg'"),
        ('base = "base"\nmodes = {}\noffload = "model"\ndevice = "cpu"', "device is the CPU"),
        ('base = "none/there"\nmodes = {}', "cannot be loaded"),
        ('base = "base"\nmodes = {}\nscheduler = "Best"', "no scheduler of diffusers"),
    ],
)
def test_what_a_configuration_cannot_say(
    xl_folder: Path, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text.replace('"base"', f'"{xl_folder / "base"}"'), encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        LayerDiffuseXLFamily.load(path)


def test_a_path_with_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a TOML file nor a folder"):
        LayerDiffuseXLFamily.load(tmp_path)
