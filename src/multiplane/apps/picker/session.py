"""One sitting of labelling: the items in their order, the decisions, and what the page asks for.

Nothing here knows of HTTP; calls may come from several threads.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from multiplane.apps.picker.views import views_of
from multiplane.data.browse import Item
from multiplane.data.labels import Label, LabelLog


class Session:
    """items: what is decided about, by index from here on. log: where the decisions go."""

    def __init__(self, items: Sequence[Item], log: LabelLog, title: str) -> None:
        """Raises ValueError when there is nothing to decide, or the first item lacks a plane that
        the question needs."""
        if not items:
            raise ValueError("there is nothing to decide about")
        self.items = tuple(items)
        self.log = log
        self.title = title
        self._lock = threading.Lock()
        views_of(self.items[0], self.question.name)

    @property
    def question(self):
        return self.log.book.asked

    def state(self) -> dict[str, Any]:
        """All the page needs to begin: the question, and every decision by index."""
        with self._lock:
            labels = self.log.book.labels
        asked = self.question
        return {
            "title": self.title,
            "question": asked.name,
            "text": asked.text,
            "good": asked.good,
            "bad": asked.bad,
            "reasons": [{"number": n, "text": text} for n, text in asked.reasons.items()],
            "decisions": [_plain(labels.get(item.key)) for item in self.items],
        }

    def describe(self, index: int) -> dict[str, Any]:
        """The caption and the names of the views of one item. Raises LookupError, OSError, and
        ValueError when the item lacks a plane."""
        item = self._item(index)
        names = list(views_of(item, self.question.name))
        return {"key": item.key, "caption": item.about()["caption"], "views": names}

    def picture(self, index: int, number: int) -> bytes:
        """View `number` of an item as it goes to the browser. Raises as `describe` does."""
        views = list(views_of(self._item(index), self.question.name).values())
        if not 0 <= number < len(views):
            raise LookupError(f"there is no view {number}")
        return views[number]()

    def decide(self, index: object, answer: object, reasons: object) -> dict[str, Any]:
        """Keep a decision. Raises LookupError, ValueError as `LabelLog.decide`, OSError."""
        item = self._item(index)
        with self._lock:
            label = self.log.decide(item.key, answer, reasons)
        return {"index": index, "decision": _plain(label)}

    def undo(self) -> dict[str, Any]:
        """Take the latest decision back: the index it was about (None: nothing to take back, or
        about an item that is not shown this time) and what counts for it now."""
        with self._lock:
            taken = self.log.undo()
            stands = None if taken is None else self.log.book.label(taken.item)
        index = None if taken is None else self._index_of().get(taken.item)
        return {"index": index, "decision": _plain(stands)}

    def undecided(self) -> int:
        """How many items have no decision."""
        with self._lock:
            labels = self.log.book.labels
        return sum(item.key not in labels for item in self.items)

    def _index_of(self) -> Mapping[str, int]:
        return {item.key: index for index, item in enumerate(self.items)}

    def _item(self, index: object) -> Item:
        if type(index) is not int or not 0 <= index < len(self.items):
            raise LookupError(f"there is no item {index!r}; there are {len(self.items)}")
        return self.items[index]


def _plain(label: Label | None) -> dict[str, Any] | None:
    return None if label is None else {"answer": label.answer, "reasons": list(label.reasons)}


def drawn(items: Sequence[Item], count: int | None, seed: int | None) -> list[Item]:
    """The items to be shown: shuffled by `seed` when one is given, then the first `count`."""
    chosen = list(items)
    if seed is not None:
        random.Random(seed).shuffle(chosen)
    return chosen[:count]
