"""`multiplane weights` from the command line."""

from __future__ import annotations

import hashlib
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_archives import tar_bytes
from multiplane.weights.fetch import Package
from multiplane.weights.sources import GROUPS, SOURCES

ARCHIVE = tar_bytes({"package/net.onnx": b"network" * 50})
PACKAGE = Package(
    registry="npm",
    name="@scope/net",
    version="1.0.0",
    sha256=hashlib.sha256(ARCHIVE).hexdigest(),
    size=len(ARCHIVE),
    licence="MIT",
    licence_class="A",
    use="tests",
    kind="weights",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, one package `net` in the group `nets`, and an npm that serves it."""
    monkeypatch.setenv("MULTIPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MULTIPLANE_OFFLINE", raising=False)
    monkeypatch.setitem(SOURCES, "net", PACKAGE)
    monkeypatch.setitem(GROUPS, "nets", ("net",))
    (tmp_path / "shelf").write_bytes(ARCHIVE)
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    copy = f"pathlib.Path({str(tmp_path / 'shelf')!r}).read_bytes()"
    script.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        f"(pathlib.Path(sys.argv[-2]) / 'net.tgz').write_bytes({copy})\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(script.parent))
    return tmp_path / "cache"


def test_the_list_says_what_is_here(command: Callable[..., Any], cache: Path) -> None:
    rows = {row["name"]: row for row in command("weights", "list", "--json").json["weights"]}
    assert rows["tiny"]["kind"] == "embedded"
    assert Path(rows["tiny"]["path"]).is_dir()
    assert rows["net"] == {
        "name": "net",
        "kind": "package",
        "source": "npm:@scope/net@1.0.0",
        "bytes": len(ARCHIVE),
        "licence": "MIT",
        "class": "A",
        "use": "tests",
        "path": None,
    }
    assert "endless-sky" not in rows  # pictures are no weights
    assert command("weights", "get", "nets").out.strip() == str(
        next((cache / "unpacked").iterdir()) / "package"
    )
    rows = {row["name"]: row for row in command("weights", "list", "--json").json["weights"]}
    assert rows["net"]["path"].startswith(str(cache))
    text = command("weights", "list").out
    assert "embedded  A     the default family" in text
    assert "MIT; npm:@scope/net@1.0.0" in text


def test_a_wrong_checksum_is_refused(
    command: Callable[..., Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "net", replace(PACKAGE, sha256="0" * 64))
    done = command("weights", "get", "net")
    assert done.code == 1
    assert f"expected {'0' * 64}; it was refused and removed" in done.error
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_offline_downloads_nothing(command: Callable[..., Any]) -> None:
    done = command("weights", "get", "net", "--offline")
    assert done.code == 1
    assert "MULTIPLANE_OFFLINE is set" in done.error
    assert command("weights", "get", "net").code == 0
    assert command("weights", "get", "net", "--offline").code == 0


def test_verify_says_what_is_damaged_and_leaves_with_a_code(
    command: Callable[..., Any], cache: Path
) -> None:
    assert "net: not here; get it with `multiplane weights get net`" in (
        command("weights", "verify", "net").out
    )
    folder = Path(command("weights", "get", "net").out.strip())
    done = command("weights", "verify", "net")
    assert (done.code, done.out) == (0, "net: whole, 1 files\n")
    (folder / "net.onnx").write_bytes(b"damaged")
    done = command("weights", "verify", "net")
    assert done.code == 1
    assert "package/net.onnx; remove" in done.out
    found = command("weights", "verify", "net", "u2netp", "--json").json["weights"]
    assert found["u2netp"] == {"files": 1, "problem": ""}
    assert found["net"]["files"] == 1
    assert "multiplane weights get net" in found["net"]["problem"]


def test_unknown_names_say_what_there_is(command: Callable[..., Any]) -> None:
    for subcommand in ("get", "verify"):
        done = command("weights", subcommand, "endless")
        assert done.code == 2
        assert "no weights are called 'endless'; there are tiny, u2netp" in done.error
