"""Published checkpoints become diffusers and PEFT, with the outputs of the published network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel

from multiplane.models.layer_embedding import (
    LayerEmbedding,
    TokenGrid,
    added_to_tokens,
    token_table,
)
from multiplane.models.layerflow_keys import rename
from multiplane.models.weights_io import read_tensors
from multiplane.pipelines.layerflow.adapters import add_adapter, use_adapters
from multiplane.weights.layerflow import converting
from multiplane.weights.layerflow.converting import (
    LORA_FILE,
    ConvertedWeights,
    convert_checkpoint,
    read_checkpoint,
)
from multiplane.weights.layerflow.fit import PublishedShape, architecture_of, missing_from
from multiplane.weights.layerflow.released import FILE, LICENCE, RELEASES, checkpoint_in
from published_layerflow import PublishedLayerFlow
from small_diffusion import seeded

SHAPE = PublishedShape(rows=2, columns=3, prompt_tokens=5)
GEN_RGBA = "multi-layer-generation-rgba"


def published(**changes: Any) -> PublishedLayerFlow:
    return seeded(lambda: PublishedLayerFlow(**changes), 0)


def write(checkpoint: dict[str, Any], folder: Path, release: str = GEN_RGBA) -> Path:
    """As the hub repository has it: RELEASE/1000/FILE, and which one is the latest."""
    path = folder / release / "1000" / FILE
    path.parent.mkdir(parents=True)
    torch.save(checkpoint, path)
    (folder / release / "latest").write_text("1000")
    return path


def load(folder: Path) -> tuple[CogVideoXTransformer3DModel, LayerEmbedding | None]:
    transformer = CogVideoXTransformer3DModel.from_pretrained(folder / "transformer")
    names = [name for name in ("content", "motion") if (folder / name).exists()]
    for name in names:
        tensors = read_tensors(folder / name / LORA_FILE)
        plain = {key.removeprefix("transformer."): each for key, each in tensors.items()}
        add_adapter(transformer, name, plain)
    embedding = None
    if (folder / "layer_embedding").is_dir():
        embedding = LayerEmbedding.from_pretrained(folder / "layer_embedding")
    return transformer.eval(), embedding


def outputs(
    reference: PublishedLayerFlow, folder: Path, prompts: int, latents: int, motion: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the published network makes of random input, and what the converted one does."""
    transformer, embedding = load(folder)
    draw = torch.Generator().manual_seed(1)
    video = torch.randn(1, latents, 4, 4, 6, generator=draw)
    text = torch.randn(1, prompts, 5, 12, generator=draw)
    reference.switch_motion(motion)
    use_adapters(transformer, {"content": 1.0, "motion": motion})
    grid = TokenGrid(prompts, 5, latents, 2, 3)
    with torch.no_grad(), added_to_tokens(transformer, token_table(transformer, embedding, grid)):
        converted = transformer(video, text.flatten(1, 2), torch.tensor([437]), return_dict=False)
        return reference(video, 437.0, text), converted[0]


@pytest.mark.parametrize(
    ("release", "prompts", "slots", "used", "embedder"),
    [
        ("multi-layer-generation-rgb", 3, 13, 12, False),
        (GEN_RGBA, 3, 16, 16, True),
        ("multi-layer-decomposition-rgba", 2, 16, 16, False),
        ("foreground-conditioned-generation-rgba", 3, 17, 17, True),
    ],
)
def test_outputs_are_those_of_the_published_network(
    release: str, prompts: int, slots: int, used: int, embedder: bool, tmp_path: Path
) -> None:
    reference = published(prompts=prompts, latents=slots, embedder=embedder)
    source = write(reference.checkpoint(), tmp_path, release)
    done = convert_checkpoint(source, tmp_path / "out", shape=SHAPE)
    for motion in (0.0, 1.0):
        before, after = outputs(reference, tmp_path / "out", prompts, used, motion)
        assert before.abs().mean() > 0.1
        assert (before - after).abs().max() < 1e-4
    assert LICENCE in done.notes
    assert (tmp_path / "out" / "layer_embedding").is_dir() == embedder
    about = ConvertedWeights.read(tmp_path / "out")
    assert (about.release, about.tasks) == (release, RELEASES[release].task)
    assert about.lead == (slots == 17)
    assert about.missing == ()


def test_the_parts_have_a_part() -> None:
    """The oracle tells wrong conversions apart: each kind of tensor moves its output."""
    reference = published()
    draw = torch.Generator().manual_seed(1)
    video = torch.randn(1, 16, 4, 4, 6, generator=draw)
    text = torch.randn(1, 3, 5, 12, generator=draw)
    with torch.no_grad():
        before = reference(video, 437.0, text)
        for name, parameter in reference.named_parameters():
            if "matrix_A" in name or "matrix_B" in name or "layers.0" not in name:
                continue
            kept = parameter.clone()
            parameter.copy_(parameter.flip(0) + 0.1)
            if not name.endswith("query_key_value.original.bias"):
                assert (reference(video, 437.0, text) - before).abs().max() > 1e-3, name
            parameter.copy_(kept)


def test_diffusers_own_loader_reads_the_lora_the_same(tmp_path: Path) -> None:
    from diffusers import CogVideoXPipeline

    reference = published()
    convert_checkpoint(write(reference.checkpoint(), tmp_path), tmp_path / "out", shape=SHAPE)
    transformer, _ = load(tmp_path / "out")
    use_adapters(transformer, {"content": 1.0})
    plain = CogVideoXTransformer3DModel.from_pretrained(tmp_path / "out" / "transformer")
    tensors = CogVideoXPipeline.lora_state_dict(tmp_path / "out" / "content", weight_name=LORA_FILE)
    CogVideoXPipeline.load_lora_into_transformer(tensors, plain, adapter_name="content")
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(1, 13, 4, 4, 6, generator=draw), torch.randn(1, 5, 12, generator=draw)
    with torch.no_grad():
        one, two = (
            each(*inputs, torch.tensor([3]), return_dict=False)[0] for each in (transformer, plain)
        )
    assert torch.equal(one, two)


def test_learned_positions_are_kept(tmp_path: Path) -> None:
    reference = published(embedder=False)
    table = reference.mixins.pos_embed.pos_embedding
    with torch.no_grad():
        table.add_(torch.randn(table.shape, generator=torch.Generator().manual_seed(4)) * 0.1)
    done = convert_checkpoint(
        write(reference.checkpoint(), tmp_path), tmp_path / "out", shape=SHAPE
    )
    before, after = outputs(reference, tmp_path / "out", 3, 16)
    assert (before - after).abs().max() < 1e-4
    assert any("positions were learned" in note for note in done.notes)


def test_fixed_positions_rounded_to_bfloat16_are_known_as_fixed(tmp_path: Path) -> None:
    reference = published(embedder=False).to(torch.bfloat16)
    convert_checkpoint(write(reference.checkpoint(), tmp_path), tmp_path / "out", shape=SHAPE)
    assert not (tmp_path / "out" / "layer_embedding").exists()
    lora = read_tensors(tmp_path / "out" / "content" / LORA_FILE)
    key = "transformer.transformer_blocks.1.attn1.to_k.lora_B.weight"
    factor = reference.state_dict()["transformer.layers.1.attention.query_key_value.matrix_D.1"]
    assert torch.equal(lora[key] * 4, factor)  # a power of two: nothing is rounded


def test_untrained_pairs_are_left_out(tmp_path: Path) -> None:
    """All blocks have factors, a sixth is trained: elsewhere the second one is still zero."""
    checkpoint = published().checkpoint()
    for key, tensor in checkpoint["module"].items():
        if (".matrix_B." in key or ".matrix_D." in key) and ".layers.2." not in key:
            tensor.zero_()
    done = convert_checkpoint(write(checkpoint, tmp_path), tmp_path / "out", shape=SHAPE)
    keys = read_tensors(tmp_path / "out" / "content" / LORA_FILE)
    assert len(keys) == 8
    assert all(key.startswith("transformer.transformer_blocks.2.") for key in keys)
    assert "LoRA content: in blocks 2" in done.notes


def test_unknown_and_missing_keys_are_reported_and_not_fatal(tmp_path: Path) -> None:
    checkpoint = published().checkpoint()
    module = checkpoint["module"]
    module["model.diffusion_model.mixins.extra.weight"] = torch.zeros(1)
    module["first_stage_model.encoder.weight"] = torch.zeros(1)  # not the denoiser's
    del module["model.diffusion_model.time_embed.2.bias"]
    checkpoint |= {"iteration": 1000, "args": argparse.Namespace(seed=1)}
    done = convert_checkpoint(write(checkpoint, tmp_path), tmp_path / "out", shape=SHAPE)
    assert any("1 tensors are unknown" in n and "mixins.extra" in n for n in done.notes)
    assert any("1 tensors are missing" in n for n in done.notes)
    assert ConvertedWeights.read(tmp_path / "out").missing == ("time_embedding.linear_2.bias",)


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("transformer.layers.1.mlp.dense_4h_to_h.weight", lambda t: t[:, 1:], "has shape"),
        ("transformer.layers.1.attention.query_key_value.original.bias", lambda t: t[1:], "rows"),
        ("mixins.adaln_layer.adaLN_modulations.0.1.bias", lambda t: t[1:], "12 equal parts"),
        ("transformer.layers.0.attention.dense.matrix_D.0", lambda t: t[1:], "no change of"),
        ("transformer.layers.0.attention.dense.matrix_D.0", lambda t: None, "one factor of two"),
        ("mixins.pos_embed.pos_embedding", lambda t: t[:, 6:], "released as another one"),
        ("mixins.pos_embed.txt_embedder.0.weight", lambda t: t[1:], "layer embedding"),
    ],
)
def test_what_does_not_fit_is_refused(key: str, change: Any, said: str, tmp_path: Path) -> None:
    checkpoint = published().checkpoint()
    changed = change(checkpoint["module"].pop(f"model.diffusion_model.{key}"))
    if changed is not None:
        checkpoint["module"][f"model.diffusion_model.{key}"] = changed
    with pytest.raises(ValueError, match=said):
        convert_checkpoint(write(checkpoint, tmp_path), tmp_path / "out", shape=SHAPE)
    assert not (tmp_path / "out").exists()


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def test_a_file_with_code_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="never run"):
        read_checkpoint(write({"module": {}, "more": Harmful()}, tmp_path))
    assert not Path("harm").exists()
    with pytest.raises(ValueError, match="no checkpoint of LayerFlow"):
        read_checkpoint(write({"module": {"weight": torch.zeros(1)}}, tmp_path / "other"))


def test_which_release_it_is_must_be_said(tmp_path: Path) -> None:
    source = tmp_path / FILE
    torch.save(published().checkpoint(), source)
    with pytest.raises(ValueError, match="--release"):
        convert_checkpoint(source, tmp_path / "out", shape=SHAPE)
    with pytest.raises(ValueError, match="no release 'generation'"):
        convert_checkpoint(source, tmp_path / "out", "generation", SHAPE)
    convert_checkpoint(source, tmp_path / "out", GEN_RGBA, SHAPE)
    name = "foreground-conditioned-generation-rgba"
    with pytest.raises(ValueError, match="released as another one"):  # 16 latents, 17 wanted
        convert_checkpoint(source, tmp_path / "other", name, SHAPE)
    with pytest.raises(ValueError, match="becomes a folder"):
        convert_checkpoint(source, tmp_path / "out.safetensors", GEN_RGBA, SHAPE)


def test_released_folders_are_found(tmp_path: Path) -> None:
    path = write({"module": {}}, tmp_path)
    assert checkpoint_in(tmp_path / GEN_RGBA) == path
    assert checkpoint_in(path) == path
    assert checkpoint_in(tmp_path) is None
    assert set(RELEASES) == {
        f"{task}-{variant}"
        for task in (
            "multi-layer-generation",
            "multi-layer-decomposition",
            "foreground-conditioned-generation",
            "background-conditioned-generation",
        )
        for variant in ("rgb", "rgba")
    }


def test_the_command_converts_and_says_the_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multiplane.apps.cli.main import main

    # The command knows the released sizes alone; here they are the small ones.
    monkeypatch.setattr(converting, "PublishedShape", lambda: SHAPE)
    source = write(published().checkpoint(), tmp_path).parent.parent
    with pytest.raises(SystemExit) as stop:
        main(["convert", str(source), "-o", str(tmp_path / "out")])
    assert not stop.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert "published these weights without a licence" in said
    assert (tmp_path / "out" / "transformer" / "config.json").is_file()
    monkeypatch.setenv("MULTIPLANE_OFFLINE", "1")
    with pytest.raises(SystemExit) as stop:
        main(["convert", GEN_RGBA, "-o", str(tmp_path / "other")])
    assert stop.value.code
    assert "hub:zjuJish/LayerFlow/multi-layer-generation-rgba/1000" in capsys.readouterr().err


def test_the_real_model_by_its_names_and_shapes() -> None:
    """All 30 blocks, without memory: the configuration read off the tensors is CogVideoX-2B's, and
    the parameters are as many as its."""
    with torch.device("meta"):
        network = PublishedLayerFlow(
            width=1920,
            heads=30,
            blocks=30,
            channels=16,
            text_width=4096,
            time_width=512,
            ranks=(8, 256),
            tokens=226,
            latents=1,
            rows=1,
            columns=1,
        )
    tensors = network.checkpoint()["module"]
    prefix = "model.diffusion_model."
    for name, shape in (
        ("transformer.layers.29.attention.query_key_value.original.weight", (5760, 1920)),
        ("transformer.layers.0.attention.query_key_value.matrix_A.2", (8, 1920)),
        ("transformer.layers.0.attention.query_key_value.matrix_D.2", (1920, 256)),
        ("transformer.layers.0.attention.dense.matrix_C.0", (256, 1920)),
        ("mixins.adaln_layer.adaLN_modulations.29.1.weight", (23040, 512)),
        ("mixins.patch_embed.proj.weight", (1920, 16, 2, 2)),
        ("mixins.final_layer.adaLN_modulation.1.weight", (3840, 512)),
        ("mixins.pos_embed.txt_embedder.0.weight", (1920, 1)),
        ("time_embed.0.weight", (512, 1920)),
    ):
        assert tuple(tensors[f"{prefix}{name}"].shape) == shape
    renamed = rename(tensors)
    config = architecture_of(renamed.transformer, PublishedShape())
    assert missing_from(renamed.transformer, config) == []
    assert not renamed.unknown
    assert sum(each.numel() for each in renamed.transformer.values()) == 1_693_783_872
    assert len(renamed.content) == len(renamed.motion) == 30 * 4 * 2
    with torch.device("meta"):
        published, own = CogVideoXTransformer3DModel(), CogVideoXTransformer3DModel(**config)
    named = {k: v for k, v in own.config.items() if not k.startswith("_")}
    differing = {k for k, v in named.items() if published.config[k] != v}
    assert differing == {"norm_eps"}
