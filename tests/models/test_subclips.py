"""The sequence layout against the positions in the published code's tables, worked by hand."""

from __future__ import annotations

import pytest

from multiplane.models.subclips import SubclipLayout, indexed_prompt, prompted_planes


def at(layout: SubclipLayout) -> dict[str, list[int]]:
    """The latents of each clip, as numbers."""
    return {clip: list(range(layout.latents))[layout.span(clip)] for clip in layout.clips}


def test_without_alpha_three_clips_of_four_latents() -> None:
    layout = SubclipLayout("rgb")
    assert at(layout) == {
        "foreground": [0, 1, 2, 3],
        "background": [4, 5, 6, 7],
        "composite": [8, 9, 10, 11],
    }
    assert (layout.latents, layout.video_frames) == (12, 48)


def test_with_alpha_four_clips() -> None:
    layout = SubclipLayout("rgba")
    assert at(layout) == {
        "foreground": [0, 1, 2, 3],
        "alpha": [4, 5, 6, 7],
        "background": [8, 9, 10, 11],
        "composite": [12, 13, 14, 15],
    }
    assert (layout.latents, layout.video_frames) == (16, 64)


def test_the_leading_frame_takes_latent_0_and_belongs_to_the_foreground() -> None:
    layout = SubclipLayout("rgba", lead=True)
    assert at(layout) == {
        "foreground": [0, 1, 2, 3, 4],
        "alpha": [5, 6, 7, 8],
        "background": [9, 10, 11, 12],
        "composite": [13, 14, 15, 16],
    }
    assert (layout.latents, layout.video_frames) == (17, 65)
    assert layout.video_span("foreground") == slice(1, 17)  # frame 0 is the repeated one
    assert layout.video_span("composite") == slice(49, 65)


def test_given_planes_are_the_latents_the_published_tasks_keep_clean() -> None:
    def clean(layout: SubclipLayout, *planes: str) -> list[int]:
        return layout.given_latents(planes).nonzero().flatten().tolist()

    with_lead = SubclipLayout("rgba", lead=True)
    assert clean(with_lead, "foreground") == list(range(9))  # "the first 9 latents of 17"
    assert clean(with_lead, "background") == [9, 10, 11, 12]
    assert clean(SubclipLayout("rgb"), "background") == [4, 5, 6, 7]
    assert clean(SubclipLayout("rgba"), "composite") == [12, 13, 14, 15]  # "the last 4 latents"
    assert clean(SubclipLayout("rgb"), "composite") == [8, 9, 10, 11]
    assert clean(SubclipLayout("rgba")) == []


def test_neighbours_run_together() -> None:
    layout = SubclipLayout("rgba")
    assert layout.runs(("alpha", "foreground")) == [("foreground", "alpha")]
    assert layout.runs(("composite", "foreground", "alpha")) == [
        ("foreground", "alpha"),
        ("composite",),
    ]
    assert layout.runs(layout.clips) == [layout.clips]


def test_other_lengths() -> None:
    layout = SubclipLayout("rgba", frames=8)
    assert at(layout)["composite"] == [6, 7]
    for frames, said in ((4, "take 8"), (12, "take 8 or 16"), (17, "take 16 or 24"), (0, "take 8")):
        with pytest.raises(ValueError, match=said):
            SubclipLayout("rgba", frames=frames)
    with pytest.raises(ValueError, match="variant"):
        SubclipLayout("depth")  # pyright: ignore[reportArgumentType]


def test_prompts_carry_their_index_and_a_given_composite_needs_none() -> None:
    planes = prompted_planes(())
    assert [indexed_prompt(plane, "a fox") for plane in planes] == [
        "0, a fox",
        "1, a fox",
        "2, a fox",
    ]
    assert prompted_planes({"foreground"}) == planes
    assert prompted_planes({"composite"}) == ("foreground", "background")
