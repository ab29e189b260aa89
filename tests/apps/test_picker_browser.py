"""The page itself, in a real browser, by keyboard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import webdriver
from made_pictures import disc, sky
from multiplane.apps.picker.server import PickerServer
from multiplane.apps.picker.session import Session
from multiplane.data.browse import find_items
from multiplane.data.labels import LabelLog, read_labels

FOUND = webdriver.find_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(isinstance(FOUND, str), reason=str(FOUND)),
]


@pytest.fixture(scope="module")
def window() -> Iterator[webdriver.Browser]:
    assert not isinstance(FOUND, str)
    with webdriver.browsing(*FOUND) as browser:
        yield browser


@pytest.fixture
def labels(tmp_path: Path, window: webdriver.Browser) -> Iterator[Path]:
    """The file of labels behind the page of six items that the window shows."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for index in range(6):
        disc(32, index).save(folder / f"s{index}.foreground.png")
        sky(32, 32, index).save(folder / f"s{index}.composite.png")
        (folder / f"s{index}.txt").write_text(f"<b>scene</b> {index}")
    (folder / "s5.composite.png").write_bytes(b"\x89PNG broken")
    path = tmp_path / "labels.jsonl"
    with (
        LabelLog(path, "mask") as log,
        PickerServer(Session(find_items(folder), log, "scenes")) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        window.open(server.url)
        window.until("document.querySelectorAll('figure img').length === 3")
        yield path
        server.shutdown()
        thread.join(10)


def at(window: webdriver.Browser, number: int) -> None:
    window.until(f"document.getElementById('place').textContent.startsWith('{number} of 6')")


def test_a_sitting_by_keyboard(window: webdriver.Browser, labels: Path) -> None:
    assert window.run("return document.getElementById('caption').textContent") == "<b>scene</b> 0"
    window.press("g")
    at(window, 2)
    window.press("1", "3", "b")
    at(window, 3)
    window.press("s")
    at(window, 4)
    found = {item: (label.answer, label.reasons) for item, label in read_labels(labels).items()}
    assert found == {"s0": ("good", ()), "s1": ("bad", (1, 3)), "s2": ("skip", ())}
    window.press("u")
    at(window, 3)
    assert set(read_labels(labels)) == {"s0", "s1"}
    window.press("ArrowLeft")
    at(window, 2)
    pressed = "return [...document.querySelectorAll('[aria-pressed=true]')].map(b => b.textContent)"
    assert [text[0] for text in window.run(pressed)] == ["1", "3"]
    assert window.run("return document.getElementById('stage').className") == "bad"
    window.press("g")  # decided anew, and on to what is still open
    at(window, 3)
    assert read_labels(labels)["s1"].answer == "good"
    assert "2 of 6 decided" in window.run("return document.getElementById('tally').textContent")
    for number in (4, 5, 6):
        window.press("g")
        at(window, number)
    window.until("document.querySelector('.frame p')?.textContent.includes('damaged')")
    window.press("b")
    window.until("document.querySelector('.end h2')?.textContent === 'All decided'")
    assert len(read_labels(labels)) == 6
    window.press("u")
    at(window, 6)
    assert len(read_labels(labels)) == 5


def test_a_reload_goes_on_where_it_was(window: webdriver.Browser, labels: Path) -> None:
    window.press("g")
    at(window, 2)
    window.press("b")
    at(window, 3)
    window.command("refresh", {})
    window.until("document.querySelectorAll('figure img').length === 3")
    at(window, 3)


def test_a_key_is_for_the_picture_that_shows(window: webdriver.Browser, labels: Path) -> None:
    """While the server takes its time, the same key again does not decide the next, unseen one."""
    window.run("""
        const real = window.fetch;
        window.held = [];
        window.fetch = (route, how) => how.method === 'POST'
            ? new Promise(go => window.held.push(go)).then(() => real(route, how))
            : real(route, how);""")
    window.press("g", "b", "g", "s")
    assert window.run("return window.held.length") == 1
    window.run("window.held.pop()()")
    at(window, 2)
    assert window.run("return window.held.length") == 0
    assert set(read_labels(labels)) == {"s0"}


def test_looking_closer(window: webdriver.Browser, labels: Path) -> None:
    shown = "[...document.querySelectorAll('figure img')]"
    window.until(f"{shown}.every(image => image.naturalWidth === 32 && image.width > 100)")
    fits = f"""return {shown}.every(image => {{
        const frame = image.parentElement;
        return image.width <= frame.clientWidth && image.height <= frame.clientHeight; }})"""
    assert window.run(fits)
    for backdrop in ("black", "white", "red", "green", "checkerboard"):
        window.press("c")
        window.until(f"{shown}.every(image => image.className === '{backdrop}')")
    colour = f"return getComputedStyle({shown}[1]).backgroundColor"
    window.press("c", "c", "c")
    assert window.run(colour) == "rgb(224, 0, 0)"
    window.press("z", "z")
    assert window.run(f"return {shown}.map(image => image.width)") == [64, 64, 64]
    window.press("+", "+")
    assert window.run(f"return {shown}[0].width") == 256
    window.press("v", "v")
    visible = f"return {shown}.map(image => image.offsetParent !== null)"
    assert window.run(visible) == [False, True, False]


def test_it_can_be_used_without_seeing_it(window: webdriver.Browser, labels: Path) -> None:
    named = """return [...document.querySelectorAll('button, [role]:not([hidden]), img, dialog')]
        .filter(each => !(each.textContent.trim() || each.alt || each.getAttribute('aria-label')))
        .map(each => each.outerHTML)"""
    assert window.run(named) == []
    window.press("g")
    window.until("document.getElementById('said').textContent === 'Good. Item 1 of 6.'")
    focusable = "return document.querySelectorAll('button:not(:disabled)').length"
    assert window.run(focusable) >= 18
    window.press("?")
    window.until("document.getElementById('keys').open")
    window.press("g")  # keys mean nothing behind the dialog
    window.press("Escape")
    window.until("!document.getElementById('keys').open")
    assert set(read_labels(labels)) == {"s0"}


def test_a_server_that_is_gone_is_said(window: webdriver.Browser, labels: Path) -> None:
    window.run("window.fetch = () => Promise.reject(new Error('gone'))")
    window.press("g")
    window.until("!document.getElementById('trouble').hidden")
    assert "no longer answers" in window.run(
        "return document.getElementById('trouble').textContent"
    )
    at(window, 1)
    assert read_labels(labels) == {}
