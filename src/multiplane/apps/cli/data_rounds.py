"""`multiplane data rounds`: generate, have a person pick, write the set to train on next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiplane.apps.cli import options
from multiplane.apps.cli.data_label import OpenPage, Port, run_picker
from multiplane.apps.cli.data_pairs import counted
from multiplane.apps.cli.terminal import say

if TYPE_CHECKING:
    from multiplane.data.prompt_lists import ScenePrompt
    from multiplane.data.rounds import Round


def rounds(
    folder: Annotated[Path, typer.Argument(help="Where the rounds lie, or shall.")],
    count: Annotated[int | None, typer.Option(min=1, help="Pictures of a new round.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="A prompt a line, or .jsonl; the captions of --base if out."),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Asset shards that what is picked shall join.")
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Style to file it under; that of most of --base if out.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Family of models.")] = None,
    weights: options.Weights = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same prompts and pictures.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="The family's own if out.")
    ] = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    picks: Annotated[
        Path | None, typer.Option(help="Labels to close the round with, in place of the page.")
    ] = None,
    close: Annotated[
        bool, typer.Option("--close", help="Close the round although pictures are undecided.")
    ] = False,
    go_on: Annotated[
        bool, typer.Option("--next", help="Begin the next round when the last one is closed.")
    ] = False,
    port: Port = 0,
    open_page: OpenPage = True,
) -> None:
    """Generate pictures, pick the good ones, get the set to train on next.

    Run the same command again to go on after any stop. What is picked joins --base with twice the
    weight; train on FOLDER/round-NNN/assets, then say --next with the new --weights."""
    said = options.only_given(
        count=count,
        prompts=None if prompts is None else str(prompts),
        model=model,
        weights=None if weights is None else str(weights),
        seed=seed,
        size=options.size_of(size),
        steps=steps,
        guidance=guidance,
        base=None if base is None else str(base),
        style=style,
    )
    at_hand = _round_at_hand(folder, said, go_on)
    if at_hand.picked() is None:
        _make(at_hand)
        if not _pick(at_hand, picks, close, port, open_page):
            return
    elif picks is not None:
        _close_with(at_hand, picks)  # the same picks again, or an error
    _write_set(at_hand)


def _round_at_hand(folder: Path, said: dict[str, Any], go_on: bool) -> Round:
    """The open round, the closed one whose set is asked for again, or a new one."""
    from multiplane.core.request import RequestError
    from multiplane.data.rounds import contradictions, rounds_in

    there = rounds_in(folder)
    if not there or (go_on and there[-1].picked() is not None):
        return _begin(folder, said, there[-1] if there else None)
    wrong = contradictions(there[-1].settings, said)
    if wrong:
        advice = (
            "leave the option out" if there[-1].picked() is None else "say --next for a new one"
        )
        raise RequestError(f"round {there[-1].number} was planned otherwise: {wrong[0]}; {advice}")
    return there[-1]


def _begin(folder: Path, said: dict[str, Any], before: Round | None) -> Round:
    """A new round; what is not said is as in the round before."""
    from dataclasses import asdict

    from multiplane.core.request import RequestError
    from multiplane.data import prompt_lists
    from multiplane.data.round_set import commonest_style
    from multiplane.data.rounds import RoundSettings, begin_round

    settings: dict[str, Any] = {} if before is None else asdict(before.settings)
    settings |= said
    base = Path(settings["base"]) if settings.get("base") else None
    if "count" not in settings:
        raise RequestError("a new round needs --count: how many pictures to make")
    if base is None and not settings.get("prompts"):
        raise RequestError("a new round needs --prompts, or --base to take captions from")
    if base is not None and "style" not in settings:
        settings["style"] = commonest_style(base)
    settings.setdefault("prompts", "")
    if settings["prompts"]:
        found = _read(Path(settings["prompts"]))
    else:
        assert base is not None
        found = prompt_lists.shard_concepts(base)
    heldout = prompt_lists.heldout_roots(base) if base is not None else frozenset()
    left_out = sum(prompt.root in heldout for prompt in found)
    if left_out:
        say(f"{left_out} prompts of held-out concepts are left out")
    return begin_round(folder, RoundSettings(**settings), found, heldout)


def _read(path: Path) -> list[ScenePrompt]:
    from multiplane.data.prompt_lists import BadPrompt, read_prompts

    prompts: list[ScenePrompt] = []
    for line in read_prompts(path):
        if isinstance(line, BadPrompt):
            raise ValueError(f"{path}, line {line.line}: {line.reason}")
        prompts.append(line)
    return prompts


def _make(at_hand: Round) -> None:
    from multiplane.data.rounds import make_pictures
    from multiplane.engine import load

    missing = len(at_hand.missing())
    if not missing:
        return
    say(f"round {at_hand.number}: {missing} of {len(at_hand.pictures)} pictures to make")
    model = load(at_hand.settings.model, at_hand.settings.weights or None)
    with counted(f"round {at_hand.number}") as progress:
        make_pictures(at_hand, model.family, progress)


def _pick(at_hand: Round, picks: Path | None, close: bool, port: int, open_page: bool) -> bool:
    """Have the round's pictures decided and close it; False when it stays open."""
    from multiplane.data.browse import find_items
    from multiplane.data.labels import read_labels
    from multiplane.data.rounds import close_round

    if picks is not None:
        _close_with(at_hand, picks)
        return True
    title = f"{at_hand.folder.parent.name}, round {at_hand.number}"
    if not close:
        items = find_items(at_hand.pictures_folder)
        run_picker(items, at_hand.labels, "pick", title, port, open_page)
    labels = read_labels(at_hand.labels, "pick")
    undecided = len(at_hand.pictures) - len(labels)
    if undecided and not close:
        say(
            f"{undecided} of {len(at_hand.pictures)} undecided: run the command again to go on, "
            "or with --close to leave them"
        )
        return False
    close_round(at_hand, labels)
    return True


def _close_with(at_hand: Round, picks: Path) -> None:
    from multiplane.data.labels import read_labels
    from multiplane.data.rounds import close_round

    close_round(at_hand, read_labels(picks, "pick"))


def _write_set(at_hand: Round) -> None:
    from multiplane.data.round_set import drawn_share, write_round_set

    with counted("training set") as progress:
        manifest = write_round_set(at_hand, progress)
    answers = at_hand.picked() or {}
    picked = sum(answer == "good" for answer in answers.values())
    count = len(at_hand.pictures)
    say(f"round {at_hand.number}: {picked} of {count} picked ({picked / count:.0%})")
    for pool, number in manifest["counts"].items():
        say(f"{number:6}  {pool}")
    if picked:
        style = at_hand.settings.style
        share = drawn_share(at_hand.assets, style, at_hand.number)
        say(f"{share:.2%} of the foregrounds of style {style!r} drawn from it will be new ones")
    say(f"train on {at_hand.assets}; then --next with the new --weights")
