"""Clips of other programs, and files that are damaged, cut short or not what is needed."""

from __future__ import annotations

import json
import struct
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moving_scene import errors, frame, frames, layered, single, stack
from multiplane.core.composite import composite_u8
from multiplane.core.pixels import to_u8
from multiplane.io import png
from multiplane.io.clips import is_clip, read_clip, write_clip
from multiplane.io.errors import BakedWarning, FileFormatError
from multiplane.io.limits import Limits

av = pytest.importorskip("av")
FORMATS = ["clip.mkv", "clip.apng", "clip.mov", "clip.webm", "clip.webp"]


def encode(
    path: Path,
    pictures: list[np.ndarray],
    codec: str,
    pixel_format: str,
    rate: Fraction = Fraction(24),
    times: list[int] | None = None,
    **stream: Any,
) -> None:
    """A file by FFmpeg alone. times: in frames, where they are not one after another."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate)
        track.height, track.width = pictures[0].shape[:2]
        track.pix_fmt = pixel_format
        for key, value in stream.items():
            setattr(track.codec_context, key, value)
        track.codec_context.time_base = 1 / rate
        for number, picture in enumerate(pictures):
            made = av.VideoFrame.from_ndarray(picture, format="rgba")
            made = made.reformat(
                format=pixel_format, dst_colorspace=stream.get("colorspace", 5), threads=1
            )
            made.pts, made.time_base = (times or range(10**6))[number], 1 / rate
            container.mux(track.encode(made))
        container.mux(track.encode())


def opaque(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    made = frames(count, size)
    for each in made:
        each[..., 3] = 255
    return made


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mp4", "libx264", "yuv444p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
    ],
)
def test_footage_is_a_clip_of_one_opaque_layer(
    tmp_path: Path, name: str, codec: str, pixel_format: str
) -> None:
    true = opaque(5, (160, 120))
    encode(tmp_path / name, true, codec, pixel_format, Fraction(30000, 1001), bit_rate=9_000_000)
    assert is_clip(tmp_path / name)
    clip = read_clip(tmp_path / name)
    assert (clip.size, clip.names, clip.provenance) == ((160, 120), ("a",), None)
    assert abs(float(clip.fps) - 29.97) < 0.001
    found = stack(clip)
    assert found.shape == (5, 120, 160, 4)
    assert (found[..., 3] == 255).all()
    np.testing.assert_array_equal(stack(clip[2:4]), found[2:4])
    alpha, _, _, colour_mean = errors(found, np.stack(true))
    assert (alpha, colour_mean < 4) == (0, True)


@pytest.mark.parametrize("matrix", [1, 5])
def test_the_colours_follow_what_the_file_says(tmp_path: Path, matrix: int) -> None:
    """BT.709 and BT.601 of a small picture, where a guess would be wrong for one of them."""
    true = opaque(1, (64, 48))
    encode(
        tmp_path / "a.mov",
        true,
        "prores_ks",
        "yuv444p10le",
        colorspace=matrix,
        color_range=1,
    )
    _, _, colour_max, _ = errors(to_u8(stack(read_clip(tmp_path / "a.mov"))), np.stack(true))
    assert colour_max <= 3


def test_qtrle_and_png_in_quicktime_are_exact(tmp_path: Path) -> None:
    for codec, pixel_format in (("qtrle", "argb"), ("png", "rgba")):
        encode(tmp_path / "a.mov", frames(3, (31, 20)), codec, pixel_format)
        clip = read_clip(tmp_path / "a.mov")
        np.testing.assert_array_equal(stack(clip), np.stack(frames(3, (31, 20))))
        assert clip.frames == 3


def test_vp8_with_alpha_is_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        track = container.add_stream("libvpx", rate=24)
        track.width, track.height, track.pix_fmt = 64, 48, "yuva420p"
        track.options = {"auto-alt-ref": "0", "crf": "4", "b": "2M"}
        track.metadata["alpha_mode"] = "1"
        for number in range(3):
            made = av.VideoFrame.from_ndarray(frame(number, (64, 48)), format="rgba")
            made = made.reformat(format="yuva420p", dst_colorspace=5, threads=1)
            made.pts = number
            container.mux(track.encode(made))
        container.mux(track.encode())
    alpha, _, _, _ = errors(stack(read_clip(tmp_path / "a.webm")), np.stack(frames(3, (64, 48))))
    assert alpha <= 20


def test_webm_without_alpha_is_opaque(tmp_path: Path) -> None:
    encode(tmp_path / "a.webm", opaque(3, (64, 48)), "libvpx-vp9", "yuv420p")
    assert (stack(read_clip(tmp_path / "a.webm"))[..., 3] == 255).all()


def test_a_phone_held_upright(tmp_path: Path) -> None:
    """Cameras store what the sensor saw and say how to turn it: here a quarter, clockwise."""
    true = opaque(2, (96, 64))
    encode(tmp_path / "a.mp4", true, "libx264", "yuv444p", bit_rate=9_000_000)
    data = (tmp_path / "a.mp4").read_bytes()
    at = data.index(b"tkhd") + 44  # the matrix of the track header (ISO 14496-12, 8.3.2)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "b.mp4").write_bytes(data[:at] + quarter + data[at + 36 :])
    plain, turned = read_clip(tmp_path / "a.mp4"), read_clip(tmp_path / "b.mp4")
    assert (plain.size, turned.size) == ((96, 64), (64, 96))
    np.testing.assert_array_equal(stack(turned), np.rot90(stack(plain), -1, axes=(1, 2)))


def test_uneven_times_are_told(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", opaque(5, (64, 48)), "libx264", "yuv420p", times=[0, 1, 5, 6, 20])
    with pytest.warns(BakedWarning, match="come at uneven times; each is taken as one frame"):
        clip = read_clip(tmp_path / "a.mp4")
    assert len(list(clip)) == 5


def test_apng_by_pillow_with_every_way_of_disposing(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pictures = []
    for number in range(7):
        picture = np.zeros((20, 30, 4), np.uint8)
        picture[3:9, number * 3 : number * 3 + 8] = rng.integers(0, 256, (6, 8, 4))[
            :, : 30 - number * 3
        ]
        pictures.append(Image.fromarray(picture, "RGBA"))
    for dispose in (0, 1, 2):
        for blend in (0, 1):
            path = tmp_path / f"{dispose}{blend}.png"
            pictures[0].save(
                path,
                save_all=True,
                append_images=pictures[1:],
                duration=40,
                disposal=dispose,
                blend=blend,
            )
            assert is_clip(path)
            clip = read_clip(path)
            assert (clip.fps, clip.frames) == (25, 7)
            with av.open(str(path), format="apng") as container:
                decoded = container.decode(video=0)
                for document, other in zip(clip, decoded, strict=True):
                    shown = other.to_ndarray(format="rgba").astype(int)
                    found = document.leaves()[0].pixels.astype(int)
                    weight = shown[..., 3:] / 255
                    assert np.abs(found[..., 3] - shown[..., 3]).max() <= 2
                    assert (np.abs(found - shown) * weight).max() <= 2  # it rounds by itself


def test_apng_of_ours_is_read_alike_by_two_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "a.apng"
    write_clip(single(6, (37, 26), 10), path)
    true = np.stack(frames(6, (37, 26)))
    with Image.open(path) as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (6, 0, 100)
        for number in range(6):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), true[number])
    with av.open(str(path), format="apng") as container:
        decoded = [each.to_ndarray(format="rgba") for each in container.decode(video=0)]
    np.testing.assert_array_equal(np.stack(decoded), true)


def test_apng_with_palette_and_with_frames_for_different_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).quantize(16)
        for _ in range(3)
    ]
    for each in pictures[1:]:
        each.putpalette(pictures[0].getpalette() or [])
    path = tmp_path / "a.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 200, 300])
    with pytest.warns(BakedWarning, match="shown for different times; together they play at 5.000"):
        clip = read_clip(path)
    with Image.open(path) as image:
        for number, document in enumerate(clip):
            image.seek(number)
            np.testing.assert_array_equal(
                document.leaves()[0].pixels, np.asarray(image.convert("RGBA"))
            )


def test_webp_by_pillow(tmp_path: Path) -> None:
    pictures = [Image.fromarray(each, "RGBA") for each in frames(24, (40, 30))]
    for duration, fps in ((40, Fraction(25)), ([42, 42, 41] * 8, Fraction(24))):
        pictures[0].save(
            tmp_path / "a.webp",
            save_all=True,
            append_images=pictures[1:],
            duration=duration,
            lossless=True,
        )
        clip = read_clip(tmp_path / "a.webp")
        assert (clip.fps, clip.frames) == (fps, 24)
    seen = np.stack(frames(24, (40, 30)))[..., 3] > 0
    np.testing.assert_array_equal(stack(clip)[seen], np.stack(frames(24, (40, 30)))[seen])


def test_stills_are_no_clips(tmp_path: Path) -> None:
    Image.fromarray(frame(0, (8, 8)), "RGBA").save(tmp_path / "a.png")
    Image.fromarray(frame(0, (8, 8)), "RGBA").save(tmp_path / "a.webp")
    for name in ("a.png", "a.webp", "missing.png", "a.psd"):
        assert not is_clip(tmp_path / name)
    with pytest.raises(FileFormatError, match="is no clip"):
        read_clip(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_clip(tmp_path / "missing.mov")


# Sequences


def sequence(folder: Path, numbers: list[int], name: str = "shot_{:03d}.png") -> list[np.ndarray]:
    folder.mkdir(exist_ok=True)
    made = [frame(number, (20, 14)) for number in numbers]
    for number, picture in zip(numbers, made, strict=True):
        (folder / name.format(number)).write_bytes(png.encode(picture))
    return made


def test_a_sequence_of_another_program(tmp_path: Path) -> None:
    true = sequence(tmp_path / "shot", [7, 8, 9, 10])
    with pytest.warns(BakedWarning, match="does not say its rate; 24 frames a second taken"):
        clip = read_clip(tmp_path / "shot")
    np.testing.assert_array_equal(stack(clip), np.stack(true))
    for name in ("shot_%03d.png", "shot_###.png"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clip = read_clip(tmp_path / "shot" / name, fps=12)
        assert (clip.fps, clip.frames) == (12, 4)


def test_faults_of_sequences(tmp_path: Path) -> None:
    sequence(tmp_path / "gap", [0, 1, 3])
    with pytest.raises(FileFormatError, match=r"shot_002\.png: is missing from its sequence"):
        read_clip(tmp_path / "gap", fps=24)
    sequence(tmp_path / "two", [0, 1])
    sequence(tmp_path / "two", [0, 1], "other{}.png")
    with pytest.raises(FileFormatError, match=r"several sequences .*name one"):
        read_clip(tmp_path / "two", fps=24)
    sequence(tmp_path / "odd", [0, 1])
    (tmp_path / "odd" / "shot_001.png").write_bytes(png.encode(frame(1, (21, 14))))
    with pytest.raises(FileFormatError, match="is 21 x 14 uint8, the first frame 20 x 14"):
        list(read_clip(tmp_path / "odd", fps=24))
    write_clip(single(4), tmp_path / "ours" / "%03d.png")
    (tmp_path / "ours" / "003.png").unlink()
    with pytest.raises(FileFormatError, match="is a sequence of 4 frames and 3 are there"):
        read_clip(tmp_path / "ours")
    with pytest.raises(FileNotFoundError, match="no file has such a name"):
        read_clip(tmp_path / "gap" / "film_%04d.png")
    with pytest.raises(
        FileFormatError, match=r"neither a layers\.json of a clip nor numbered PNGs"
    ):
        read_clip(tmp_path)


def test_a_shorter_sequence_replaces_a_longer_one(tmp_path: Path) -> None:
    write_clip(single(5), tmp_path / "%03d.png")
    (tmp_path / "notes.txt").write_text("mine")
    write_clip(single(3), tmp_path / "%03d.png")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        *(f"{number:03d}.png" for number in range(3)),
        "notes.txt",
    ]
    assert read_clip(tmp_path / "%03d.png").frames == 3


# Damage


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_file_that_is_cut_short(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    write_clip(single(12, (128, 96)), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FileFormatError) as caught:
        list(read_clip(path))
    assert str(path) in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("name", ["clip.mkv", "clip.apng"])
def test_flipped_bits_in_a_master_are_found(tmp_path: Path, name: str) -> None:
    """FFV1 slices and PNG chunks carry checksums."""
    path = tmp_path / name
    write_clip(single(6, (128, 96)), path)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(4)
    for at in rng.integers(len(data) // 3, len(data) * 2 // 3, 40):
        data[at] ^= 255
    path.write_bytes(data)
    with pytest.raises(FileFormatError):
        list(read_clip(path))


def test_a_name_that_lies(tmp_path: Path) -> None:
    (tmp_path / "a.mov").write_bytes(b"not a film" * 100)
    (tmp_path / "a.apng").write_bytes(b"not a film" * 100)
    (tmp_path / "b.apng").write_bytes(png.encode(frame(0, (8, 8))))
    for name, message in (
        ("a.mov", "cannot be read as a video"),
        ("a.apng", "is no PNG inside"),
        ("b.apng", "is a PNG of one picture"),
    ):
        with pytest.raises(FileFormatError, match=message):
            list(read_clip(tmp_path / name))
    with av.open(str(tmp_path / "sound.mov"), "w") as container:
        track = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
        silence.sample_rate = 44100
        container.mux(track.encode(silence))
        container.mux(track.encode())
    with pytest.raises(FileFormatError, match="holds no pictures"):
        read_clip(tmp_path / "sound.mov")


def test_limits_hold_for_clips(tmp_path: Path) -> None:
    for name in FORMATS:
        write_clip(single(2), tmp_path / name)
        with pytest.raises(FileFormatError, match="more than the limit of 50 a side"):
            read_clip(tmp_path / name, Limits(side=50))


def test_damaged_metadata_is_left_out_with_a_word(tmp_path: Path) -> None:
    write_clip(single(2), tmp_path / "a.apng")
    data = (tmp_path / "a.apng").read_bytes()
    start = data.index(b"iTXt") - 4
    length = int.from_bytes(data[start : start + 4], "big") + 12
    text = png.text_chunk("multiplane", json.dumps({"format": "multiplane moving picture"}))
    (tmp_path / "a.apng").write_bytes(data[:start] + text + data[start + length :])
    with pytest.warns(BakedWarning, match="its multiplane metadata is damaged and left out"):
        clip = read_clip(tmp_path / "a.apng")
    assert clip.names == ("a",)


# Layers folders


def index_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "layers.json").read_text())


def test_a_layer_that_lost_its_alpha(tmp_path: Path) -> None:
    """What comes back from a program that exports without alpha."""
    write_clip(layered(3), tmp_path / "layers")
    (entry,) = [each for each in index_of(tmp_path / "layers")["layers"] if each["name"] == "disc"]
    encode(tmp_path / "layers" / entry["file"], opaque(3, (64, 48)), "libx264", "yuv420p")
    with pytest.raises(
        FileFormatError, match="holds no alpha and the layer 'disc' needs it; export"
    ):
        read_clip(tmp_path / "layers")


def test_a_layer_that_came_back_changed(tmp_path: Path) -> None:
    folder = tmp_path / "layers"
    write_clip(layered(3), folder)
    file = folder / index_of(folder)["layers"][1]["file"]
    write_clip(single(3, (32, 48)), file)
    with pytest.raises(FileFormatError, match="is 32 x 48, the index says"):
        read_clip(folder)
    write_clip(single(4), file)
    with pytest.raises(FileFormatError, match="holds 4 frames, the index says 3"):
        read_clip(folder)
    file.unlink()
    with pytest.raises(FileFormatError, match=r"'disc' is in .* which is missing"):
        read_clip(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.update(version=2), "says 'multiplane clip' version 2"),
        (lambda index: index.pop("fps"), "'fps' is missing"),
        (lambda index: index["layers"][0].update(file="../a.mkv"), "not in the folder itself"),
        (lambda index: index["layers"][0].update(opacity=[1.0, 0.5]), "not said for all 3 frames"),
        (lambda index: index["layers"][0].update(blend="mist"), "unknown blend mode 'mist'"),
    ],
)
def test_a_damaged_index(tmp_path: Path, change: Any, message: str) -> None:
    write_clip(layered(3), tmp_path / "layers")
    index = index_of(tmp_path / "layers")
    change(index)
    (tmp_path / "layers" / "layers.json").write_text(json.dumps(index))
    with pytest.raises(FileFormatError, match=message):
        list(read_clip(tmp_path / "layers"))


def test_a_layer_edited_by_another_program_is_taken(tmp_path: Path) -> None:
    write_clip(layered(3), tmp_path / "layers", codec="prores")
    file = tmp_path / "layers" / index_of(tmp_path / "layers")["layers"][1]["file"]
    made = frames(3, (64, 48))[::-1]
    encode(file, made, "prores_ks", "yuva444p10le", color_range=1)
    clip = read_clip(tmp_path / "layers")
    alpha, _, colour, _ = errors(to_u8(stack(clip, "disc")), np.stack(made))
    assert max(alpha, colour) <= 3
    assert composite_u8(clip[0])[..., 3].min() >= 254


def test_planes_folders_are_stills(tmp_path: Path) -> None:
    from multiplane.io.registry import read, write

    write(layered(1)[0], tmp_path / "planes")
    assert not is_clip(tmp_path / "planes")
    write_clip(layered(2), tmp_path / "layers")
    with pytest.raises(FileFormatError, match="is a clip; read it with read_clip"):
        read(tmp_path / "layers")
    with pytest.raises(FileExistsError, match="would not replace"):
        write_clip(layered(2), tmp_path / "planes")
    write_clip(single(1), tmp_path / "a.mov")
    with pytest.raises(FileFormatError, match=r"\.mov is for clips; read it with read_clip"):
        read(tmp_path / "a.mov")
    with pytest.raises(FileFormatError, match=r"\.mov is for clips; take a frame out"):
        write(layered(1)[0], tmp_path / "b.mov")
