"""The table of photographs, and writing them out from an archive made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from multiplane.data import photographs
from multiplane.data.photographs import INSIDE, read_table, write_photographs

PERMISSIVE = {"public domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-3.0"}


def test_every_photograph_may_train_and_says_whose_it_is() -> None:
    table = read_table()
    assert len({each.name for each in table}) == len(table) == 20
    assert {each.licence for each in table} <= PERMISSIVE
    assert all(each.by and each.caption for each in table)


def test_writing_them_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_table()
    folder = tmp_path / photographs.ARCHIVES
    folder.mkdir(parents=True)
    for each in table:
        (folder / f"{each.path.partition('/')[0]}.rcc").write_bytes(b"")
    monkeypatch.setattr(photographs, "locate", lambda name: tmp_path)
    files = [(INSIDE + each.path, each.path.encode()) for each in table]
    monkeypatch.setattr(photographs, "read_resources", lambda data: files)
    written = write_photographs(tmp_path / "out")
    assert {path.name for path in written} == {each.name for each in table}
    wrench = next(each for each in table if each.name == "wrench.webp")
    assert (tmp_path / "out" / "wrench.webp").read_bytes() == wrench.path.encode()
    assert (tmp_path / "out" / "wrench.txt").read_text() == "an adjustable wrench\n"
    assert "wrench.webp\tDori\tpublic domain\n" in (tmp_path / "out" / "CREDITS.tsv").read_text()
    assert len(write_photographs(tmp_path / "one", ("moose.webp",))) == 1
    monkeypatch.setattr(photographs, "read_resources", lambda data: files[1:])
    with pytest.raises(ValueError, match=r"holds no .*fish4"):
        write_photographs(tmp_path / "less")
