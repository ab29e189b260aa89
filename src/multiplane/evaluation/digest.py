"""The figures of an evaluation as lines that a reader takes in; everything else is in the JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Figures = Mapping[str, Any]


def lines_of(found: Figures) -> Iterator[str]:
    """The main figures of every part there is."""
    minutes = found.get("minutes", {})
    for part, figures in found["parts"].items():
        taken = f" ({minutes[part]:.1f} min)" if part in minutes else ""
        yield f"{part}{taken}"
        for line in _TELLERS[part](figures):
            yield f"  {line}"


def mean(each: Figures, digits: int = 3) -> str:
    """mean (least to most) of a summary; a dash where nothing was measured."""
    if not each:
        return "-"
    low, high = f"{each['min']:.{digits}f}", f"{each['max']:.{digits}f}"
    return f"{each['mean']:.{digits}f} ({low} to {high}, n = {each['n']})"


def known(value: float | None) -> str:
    """Four digits of a figure; a dash where it could not be measured."""
    return "-" if value is None else f"{value:.4f}"


def of_setting(row: Figures) -> tuple[str, str, str, str]:
    """Top-5, KID, soft alpha distance and seconds of one setting of the part `steps`."""
    kid = "-" if row["kid"] is None else f"{row['kid']:.4f} ± {row['kid spread']:.4f}"
    return (
        f"{row['top5']:.1%}",
        kid,
        known(row["soft alpha distance"]),
        f"{row['seconds']:.2f}",
    )


def _speed(figures: Figures) -> Iterator[str]:
    for name, case in figures["cases"].items():
        shares = ", ".join(
            f"{stage} {seconds / case['seconds']:.0%}"
            for stage, seconds in case["stages"].items()
            if seconds >= 0.005 * case["seconds"]
        )
        yield f"{name}: {case['seconds']:.2f} s ({shares})"


def _retrieval(figures: Figures) -> Iterator[str]:
    for name, row in figures["retrieval"].items():
        if name in ("gallery", "found"):
            continue
        yield (
            f"top-5, {name}: {row['top5']:.1%} of {row['n']}; real assets {row['ceiling']:.1%}, "
            f"chance {row['floor']:.2%}: {row['share of ceiling']:.0%} of the ceiling, "
            f"{row['times floor']:.0f} times chance"
        )
    copying = figures["copying"]
    yield (
        f"copy rate: {copying['rate']:.1%}; held-out real assets "
        f"{copying['rate of held-out real assets']:.1%}, softened training assets "
        f"{copying['rate of softened, mirrored training assets']:.1%}"
    )
    yield from _likeness(figures)


def _likeness(figures: Figures) -> Iterator[str]:
    kid = figures["kid"]
    if kid["made to real"]:
        names = ("made to real", "held-out real to real", "half of real to the other half")
        told = (f"{name} {kid[name]['value']:.4f} ± {kid[name]['spread']:.4f}" for name in names)
        yield f"KID: {', '.join(told)}"
    soft = figures["soft alpha"]
    yield (
        f"soft alpha: {mean(soft['soft share, made'])} of covered pixels, real "
        f"{mean(soft['soft share, real'])}; histogram distance "
        f"{soft['distance of made to real']:.4f}, held-out real "
        f"{soft['distance of held-out real to real']:.4f}; {figures['empty']} empty"
    )


def _alpha(figures: Figures) -> Iterator[str]:
    for name, each in figures["groups"].items():
        told = known(each["soft alpha distance"])
        yield (
            f"{name}: residue mean {mean(each['residue, mean'], 5)}, max "
            f"{mean(each['residue, max'])}, over {mean(each['residue, share'], 4)} of the empty "
            f"canvas; holes {mean(each['holes'])}"
        )
        yield (
            f"{name}: halo {mean(each['halo'])}, lightness {mean(each['halo, lightness'])}; soft "
            f"share {mean(each['soft share'])}, histogram distance {told}; {each['empty']} of "
            f"{each['pictures']} empty"
        )
    clear = figures["see-through"]
    for name in ("made", "real") if clear["concepts"] else ():
        yield (
            f"{clear['concepts']} see-through concepts, {name}: soft share "
            f"{mean(clear[name]['soft share'])}, see-through "
            f"{mean(clear[name]['see-through share'])}"
        )


def _materials(figures: Figures) -> Iterator[str]:
    for name, each in figures["materials"].items():
        told = known(each["soft alpha distance"])
        yield (
            f"{name}: see-through {mean(each['see-through, made'])}, real "
            f"{mean(each['see-through, real'])}; soft share {mean(each['soft share, made'])}, real "
            f"{mean(each['soft share, real'])}; histogram distance {told}; {each['empty']} empty"
        )


def _rows(figures: Figures) -> Iterator[str]:
    for name, row in figures["rows"].items():
        told = [f"after {row['after, 255ths']['max']:.2f}/255 at most"]
        if "before" in row:
            before = row["before"]
            told.insert(
                0,
                f"before {before['psnr']['mean']:.1f} dB, mean {before['mean']['mean']:.4f}, "
                f"max {before['max']['max']:.3f}",
            )
        if "foreground" in row:
            told.append(
                f"alpha mae {row['foreground']['alpha mae']['mean']:.4f}, "
                f"iou {row['foreground']['mask iou']['mean']:.3f}"
            )
        if "background" in row:
            told.append(f"background {row['background']['psnr']['mean']:.1f} dB")
        yield f"{name}: {'; '.join(told)}; {row['seconds']['mean']:.2f} s"


def _conditional(figures: Figures) -> Iterator[str]:
    for name, row in figures.get("rows", {}).items():
        ratios = ", ".join(f"{plane} {use['ratio']:.3f}" for plane, use in row.items())
        yield f"{name}: loss, true over shuffled: {ratios}"


def _control(figures: Figures) -> Iterator[str]:
    for words in ("own words", "other words"):
        yield f"mask iou with the silhouette, {words}: {mean(figures[words]['mask iou'])}"


def _native(figures: Figures) -> Iterator[str]:
    yield f"the judge on real scenes: {mean(figures['judge on real scenes'])}"
    for name in ("native", "cut"):
        each = figures[name]
        share = each["share of the judge's own"]
        yield (
            f"{name}: mask iou with the judge {mean(each['mask iou with the judge'])}, "
            f"{share:.0%} of its own; top-5 {each['retrieval']['top5']:.0%}"
        )
        yield from (f"{name}: {line}" for line in _likeness(each))
    scenes = figures["like real scenes"]
    for name in ("native", "cut"):
        kid, told = scenes[name]["kid"], known(scenes[name]["soft alpha distance"])
        yield (
            f"{name}, beside real scenes' foregrounds: KID {kid['value']:.4f} ± "
            f"{kid['spread']:.4f}, soft alpha distance {told}"
        )


def _iterative(figures: Figures) -> Iterator[str]:
    yield (
        f"earlier layers unchanged: {figures['earlier layers unchanged']:.0%}; "
        f"{figures['empty layers']} of {figures['scenes'] * figures['layers']} layers empty; after "
        f"{figures['after, 255ths'].get('max', 0.0):.2f}/255 at most"
    )


def _inpainting(figures: Figures) -> Iterator[str]:
    yield (
        f"kept part unchanged: {figures['kept part unchanged']:.0%}; seam "
        f"{mean(figures['seam, made'])}, real {mean(figures['seam, real'])}"
    )


def _clips(figures: Figures) -> Iterator[str]:
    if "from words" not in figures:
        yield "these weights make stills"
        return
    for name in ("real", "from words", *(key for key in figures if key.endswith(" given"))):
        row = figures[name]
        told = [
            f"{label} {mean(row[key], digits)}"
            for key, label, digits in (
                ("before, psnr", "before, dB", 1),
                ("motion of the foreground", "motion of the foreground", 4),
                ("motion of the background", "of the background", 4),
                ("alpha flicker", "alpha flicker", 3),
                ("seconds", "seconds", 1),
            )
            if key in row
        ]
        if "foreground" in row:
            told.insert(0, f"mask iou {mean(row['foreground']['mask iou'])}")
        if "named" in row:
            found = row["named"]["all"]
            told.insert(0, f"top-5 {found['top5']:.1%} of frames (real {found['ceiling']:.1%})")
        if row.get("likeness"):
            alike = row["likeness"]
            told.append(
                f"first to last frame {alike['first to last']:.3f} "
                f"(of others {alike['first to last of others']:.3f})"
            )
        yield f"{name}: {'; '.join(told)}"


def _steps(figures: Figures) -> Iterator[str]:
    rows = {"the weights' own": figures["at own"]}
    for curve in ("steps", "guidance"):
        own = figures["own"][curve]
        rows |= {f"{curve} {value}": row for value, row in figures[curve].items()}
        if own is not None:
            yield f"the weights' own {curve}: {own:g}"
    for name, row in rows.items():
        top5, kid, soft, seconds = of_setting(row)
        yield f"{name}: top-5 {top5}; KID {kid}; soft alpha distance {soft}; {seconds} s"


def _planes(figures: Figures) -> Iterator[str]:
    added = figures.get("composite against over(foreground, background)")
    if added:
        yield (
            f"composite against over(foreground, background): {mean(added['psnr'], 1)} dB, at most "
            f"{added['max, 255ths']['max']:.1f}/255"
        )
    if "mask iou with the judge" in figures:
        yield f"mask iou with the judge: {mean(figures['mask iou with the judge'])}"
    for plane, errors in figures.get("against truth", {}).items():
        if plane != "scenes":
            yield from (f"true {plane}: {name} {mean(each)}" for name, each in errors.items())
    if "retrieval" in figures:
        yield f"top-5: {figures['retrieval']['all']['top5']:.1%}"
    yield from _likeness(figures)


_TELLERS: dict[str, Callable[[Figures], Iterator[str]]] = {
    "speed": _speed,
    "retrieval": _retrieval,
    "alpha": _alpha,
    "materials": _materials,
    "rows": _rows,
    "conditional": _conditional,
    "control": _control,
    "native": _native,
    "iterative": _iterative,
    "inpainting": _inpainting,
    "clips": _clips,
    "steps": _steps,
    "planes": _planes,
}
