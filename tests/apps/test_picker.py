"""The picker without a browser: its session, its views, and all that comes over HTTP."""

from __future__ import annotations

import http.client
import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made_pictures import disc, sky
from multiplane.apps.picker.server import MAX_BODY, PickerServer
from multiplane.apps.picker.session import Session, drawn
from multiplane.apps.picker.views import views_of
from multiplane.data.browse import find_items
from multiplane.data.labels import LabelLog, read_labels


def scene_folder(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    for index in range(count):
        disc(32, index).save(folder / f"s{index}.foreground.png")
        sky(32, 32, index).save(folder / f"s{index}.composite.png")
        sky(32, 32, index + 50).save(folder / f"s{index}.background.png")
        (folder / f"s{index}.txt").write_text(f"scene <b>{index}</b>")
    return folder


@dataclass
class Served:
    server: PickerServer
    labels: Path

    def ask(
        self, route: str, body: Any = None, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or bytes, headers). route is under the secret unless it begins with /."""
        path = route if route.startswith("/") else f"/{self.server.token}/{route}"
        sent = {"Content-Type": "application/json", **(headers or {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        method = more.get("method", "GET" if body is None else "POST")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        content, kept = answer.read(), dict(answer.getheaders())
        connection.close()
        plain = json.loads(content) if kept["Content-Type"] == "application/json" else content
        return answer.status, plain, kept


@pytest.fixture(params=["mask"])
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    labels = tmp_path / "labels.jsonl"
    with LabelLog(labels, request.param) as log:
        session = Session(find_items(scene_folder(tmp_path / "scenes")), log, "scenes")
        with PickerServer(session) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            yield Served(server, labels)
            server.shutdown()
            thread.join(10)
            assert not thread.is_alive()


def test_the_page_comes_whole_and_needs_no_network(served: Served) -> None:
    for route in ("", "picker.js", "picker.css"):
        status, content, headers = served.ask(route)
        assert status == 200
        assert b"http://" not in content
        assert b"https://" not in content
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, page, _ = served.ask("")
    ids = set(re.findall(rb'id="([\w-]+)"', page))
    used = set(re.findall(rb'\bat\("([\w-]+)"\)', served.ask("picker.js")[1]))
    assert used
    assert used <= ids


def test_the_state_and_items_say_all_the_page_needs(served: Served) -> None:
    _, state, _ = served.ask("state")
    assert state["question"] == "mask"
    assert state["decisions"] == [None] * 4
    assert {each["number"] for each in state["reasons"]} == {1, 2, 3, 4, 5, 6, 7, 9}
    _, item, _ = served.ask("items/2")
    assert item == {
        "key": "s2",
        "caption": "scene <b>2</b>",
        "views": ["picture", "cut-out", "mask"],
    }


def test_pictures_come_by_number(served: Served, tmp_path: Path) -> None:
    for index in range(4):
        status, data, headers = served.ask(f"pictures/{index}/0")
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert data == (tmp_path / "scenes" / f"s{index}.composite.png").read_bytes()
        assert "immutable" in headers["Cache-Control"]
        mask = np.asarray(Image.open(io.BytesIO(served.ask(f"pictures/{index}/2")[1])))
        np.testing.assert_array_equal(mask, np.asarray(disc(32, index))[..., 3])
    for route in ("pictures/4/0", "pictures/0/3", "items/4", "items/-1", "pictures/0"):
        assert served.ask(route)[0] == 404


def test_a_decision_is_on_disk_when_it_is_confirmed(served: Served) -> None:
    status, kept, _ = served.ask("decisions", {"index": 1, "answer": "bad", "reasons": [2, 1]})
    assert (status, kept) == (200, {"index": 1, "decision": {"answer": "bad", "reasons": [1, 2]}})
    assert read_labels(served.labels)["s1"].reasons == (1, 2)
    served.ask("decisions", {"index": 1, "answer": "good"})
    assert read_labels(served.labels)["s1"].answer == "good"
    assert served.ask("state")[1]["decisions"][1] == {"answer": "good", "reasons": []}
    _, taken, _ = served.ask("undo", {})
    assert taken == {"index": 1, "decision": {"answer": "bad", "reasons": [1, 2]}}
    assert served.ask("undo", {})[1] == {"index": 1, "decision": None}
    assert served.ask("undo", {})[1] == {"index": None, "decision": None}
    assert read_labels(served.labels) == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"index": 9, "answer": "good"}, 404),
        ({"index": "0", "answer": "good"}, 404),
        ({"index": True, "answer": "good"}, 404),
        ({"answer": "good"}, 404),
        ({"index": 0}, 400),
        ({"index": 0, "answer": "fine"}, 400),
        ({"index": 0, "answer": "bad", "reasons": [8]}, 400),
        ({"index": 0, "answer": "good", "reasons": [1]}, 400),
        ([1], 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b" " * (MAX_BODY + 1), 400),
    ],
)
def test_what_cannot_be_kept_is_refused(served: Served, body: Any, status: int) -> None:
    found, said, _ = served.ask("decisions", body)
    assert found == status
    assert said["error"]
    assert read_labels(served.labels) == {}
    assert served.ask("decisions", {"index": 0, "answer": "good"})[0] == 200


def test_only_this_page_gets_an_answer(served: Served) -> None:
    token, port = served.server.token, served.server.port
    for route in (
        "/",
        "/state",
        f"/{token}",
        f"/{token[:-1]}/state",
        f"/x{token}/state",
        "//state",
    ):
        assert served.ask(route)[0] == 404
    for route in ("../labels.jsonl", "pictures/../../labels.jsonl", "page.html", "pictures/0/0/.."):
        assert served.ask(route)[0] == 404
    body = {"index": 0, "answer": "good"}
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ):
        assert served.ask("decisions", body, headers)[0] == 404
    assert served.ask("decisions", body, {"Content-Type": "text/plain"})[0] == 400
    assert read_labels(served.labels) == {}
    assert served.ask("decisions", body, {"Origin": f"http://127.0.0.1:{port}"})[0] == 200
    assert served.ask("state", method="DELETE", body={})[0] == 501
    assert served.server.server_address[0] == "127.0.0.1"


def test_the_answer_of_a_full_disk_is_an_error(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LabelLog, "_write", full)
    status, said, _ = served.ask("decisions", {"index": 0, "answer": "good"})
    assert status == 500
    assert "No space left" in said["error"]
    assert served.ask("state")[1]["decisions"][0] is None


def test_many_at_once_lose_nothing(served: Served) -> None:
    def work(number: int) -> None:
        for _ in range(8):
            served.ask("decisions", {"index": number, "answer": "bad", "reasons": [1]})
            served.ask(f"pictures/{number}/1")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(served.labels.read_text().splitlines()) == 1 + 4 * 8
    assert set(read_labels(served.labels)) == {"s0", "s1", "s2", "s3"}


def test_finish_ends_the_server_and_says_what_is_open(served: Served) -> None:
    served.ask("decisions", {"index": 0, "answer": "skip"})
    assert served.ask("finish", {})[1] == {"undecided": 3}


def test_a_session_goes_on_where_it_stopped(tmp_path: Path) -> None:
    items = find_items(scene_folder(tmp_path / "scenes"))
    path = tmp_path / "labels.jsonl"
    with LabelLog(path, "pick") as log:
        Session(items, log, "").decide(2, "good", [])
    with LabelLog(path, "pick") as log:
        session = Session(items, log, "")
        assert session.undecided() == 3
        assert session.state()["decisions"] == [None, None, {"answer": "good", "reasons": []}, None]
        fewer = Session(items[:2], log, "")  # the latest decision is about one not shown now
        assert fewer.undo() == {"index": None, "decision": None}
        assert read_labels(path) == {}


def test_views_fit_the_question(tmp_path: Path) -> None:
    folder = scene_folder(tmp_path / "scenes", 1)
    (item,) = find_items(folder)
    assert list(views_of(item, "pick")) == ["composite", "foreground", "background"]
    views = views_of(item, "completion")
    assert list(views) == ["background", "picture", "filled"]
    alpha = np.asarray(disc(32, 0))[..., 3]
    filled = np.asarray(Image.open(io.BytesIO(views["filled"]())), int)
    whole = np.asarray(sky(32, 32, 0), int)
    assert (filled[alpha == 0] == whole[alpha == 0]).all()
    red = whole[alpha == 255] * 0.3 + np.array([255, 0, 0]) * 0.7
    assert np.abs(filled[alpha == 255] - red).max() <= 1.01
    for name in ("background", "foreground"):
        (folder / f"s0.{name}.png").unlink()
    (bare,) = find_items(folder)
    for question, lacks in (("mask", "a mask or foreground"), ("completion", "a background")):
        with pytest.raises(ValueError, match=lacks):
            views_of(bare, question)
    Image.fromarray(alpha).save(folder / "s0.mask.png")
    (masked,) = find_items(folder)
    cut = np.asarray(Image.open(io.BytesIO(views_of(masked, "mask")["cut-out"]())))
    np.testing.assert_array_equal(cut[..., 3], alpha)
    np.testing.assert_array_equal(cut[..., :3], np.asarray(sky(32, 32, 0)))


def test_a_damaged_plane_is_an_error_of_that_picture_alone(tmp_path: Path) -> None:
    folder = scene_folder(tmp_path / "scenes", 1)
    broken = (folder / "s0.foreground.png").read_bytes()[:60]
    (folder / "s0.foreground.png").write_bytes(broken)
    views = views_of(find_items(folder)[0], "mask")
    with pytest.raises(OSError, match="damaged"):
        views["mask"]()
    assert views["cut-out"]() == broken  # as it is stored: the page says it cannot be shown


def test_the_order_is_drawn_by_seed(tmp_path: Path) -> None:
    items = find_items(scene_folder(tmp_path / "scenes", 8))
    assert drawn(items, None, None) == items
    assert drawn(items, 3, None) == items[:3]
    one, other = drawn(items, 5, 1), drawn(items, 5, 1)
    assert one == other
    assert len({item.key for item in one}) == 5
    assert drawn(items, None, 1)[:5] == one
    assert drawn(items, None, 2) != drawn(items, None, 1)
