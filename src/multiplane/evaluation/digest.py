"""The figures of an evaluation as lines that a reader takes in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Long lists of single pictures stay in the JSON.
_LEFT_OUT = frozenset(("found", "nearest", "histogram, made", "histogram, real"))


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """One line a figure, indented by its place; statistics as mean, spread and range."""
    minutes = found.get("minutes", {})
    for part, figures in found["parts"].items():
        taken = f" ({minutes[part]} min)" if part in minutes else ""
        yield f"{part}{taken}"
        yield from _lines(figures, 1)


def _lines(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, each in value.items():
        if name in _LEFT_OUT:
            continue
        if isinstance(each, Mapping) and {"mean", "std", "min", "max"} <= set(each):
            yield f"{indent}{name}: {statistics_text(each)}"
        elif isinstance(each, Mapping):
            yield f"{indent}{name}"
            yield from _lines(each, depth + 1)
        elif isinstance(each, list):
            yield f"{indent}{name}: {', '.join(map(str, each)) or 'none'}"
        else:
            yield f"{indent}{name}: {number_text(each)}"


def statistics_text(each: Mapping[str, float]) -> str:
    return (
        f"{number_text(each['mean'])} ± {number_text(each['std'])} "
        f"({number_text(each['min'])} to {number_text(each['max'])}, n = {each['n']})"
    )


def number_text(value: Any) -> str:
    """Four significant digits of a float, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
