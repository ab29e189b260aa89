"""What a person is asked about a picture, and the numbered reasons for a no.

The rules for masks and completions are those of Text2Layer (section III-D: "bad" when the object is
largely incomplete, holds background or is too small; when the filled region holds an object or
artefacts or does not cohere). Reasons 4 and on are ours: they say what a filter could learn to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Answer = Literal["good", "bad", "skip"]
ANSWERS: tuple[Answer, ...] = ("good", "bad", "skip")


@dataclass(frozen=True)
class Question:
    """text: what the page asks. good, bad: what its two buttons say. reasons: by digit, 1 to 9."""

    name: str
    text: str
    good: str
    bad: str
    reasons: Mapping[int, str]


def _question(name: str, text: str, good: str, bad: str, *reasons: str) -> Question:
    numbered = {number: reason for number, reason in enumerate(reasons, 1) if reason}
    return Question(name, text, good, bad, MappingProxyType(numbered))


_ALL = (
    _question(
        "pick",
        "Shall it be trained on?",
        "Pick",
        "Leave",
        "cut off at the border",
        "holes or see-through where solid",
        "background left around it",
        "ragged or blurred edge",
        "not what the words say",
        "malformed",
        "several things",
        "",
        "something else",
    ),
    _question(
        "mask",
        "Does the mask hold the object, whole and alone?",
        "Good",
        "Bad",
        "object largely incomplete",
        "background inside the mask",
        "object too small",
        "edge wrong: hair, holes, glass",
        "several objects, only some taken",
        "shadow or reflection taken",
        "nothing stands out here",
        "",
        "something else",
    ),
    _question(
        "completion",
        "Could this background be a picture of its own?",
        "Good",
        "Bad",
        "an object stands in the filled part",
        "artefacts in the filled part",
        "does not fit the rest",
        "shadow or reflection left behind",
        "remains of the object left",
        "filled part blurred or smeared",
        "text or a logo appeared",
        "",
        "something else",
    ),
)
QUESTIONS: Mapping[str, Question] = MappingProxyType({each.name: each for each in _ALL})


def question(name: str) -> Question:
    """Raises ValueError for a name that is not in QUESTIONS."""
    if name not in QUESTIONS:
        raise ValueError(f"no question is called {name!r}; there are {', '.join(QUESTIONS)}")
    return QUESTIONS[name]


def check_answer(
    asked: Question, answer: object, reasons: object
) -> tuple[Answer, tuple[int, ...]]:
    """An answer as it is kept: its reasons sorted, each once, and only beside "bad".

    Raises ValueError for an answer or a reason the question does not know."""
    if answer not in ANSWERS:
        raise ValueError(f"an answer is one of {', '.join(ANSWERS)}, got {answer!r}")
    if not isinstance(reasons, list | tuple) or any(type(each) is not int for each in reasons):
        raise ValueError(f"reasons must be a list of numbers, got {reasons!r}")
    unknown = sorted(set(reasons) - set(asked.reasons))
    if unknown:
        known = ", ".join(f"{number} {text}" for number, text in asked.reasons.items())
        raise ValueError(f"the question {asked.name!r} has no reason {unknown[0]}; it has {known}")
    if reasons and answer != "bad":
        raise ValueError(f"reasons go with the answer 'bad', got {answer!r} with {reasons!r}")
    return answer, tuple(sorted(set(reasons)))  # pyright: ignore[reportReturnType]
