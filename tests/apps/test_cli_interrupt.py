"""Ctrl-C: exit code 130, one line, and finished files whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from multiplane.io.registry import read

# A shell that starts a job in the background has it ignore SIGINT, and its children inherit that:
# the driver asks for Python's own handler again, as in a terminal.
DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
import flat_family, multiplane
from multiplane.apps.cli.main import main
make = flat_family.FlatFamily.make
def slowly(self, request, progress=None):
    from dataclasses import replace
    return make(self, replace(request, options={{"seconds_a_step": 0.1}}), progress)
flat_family.FlatFamily.make = slowly
multiplane.register(flat_family.FLAT)
main(sys.argv[1:])
"""


def test_ctrl_c_leaves_finished_files_whole(tmp_path: Path) -> None:
    code = DRIVER.format(tests=str(Path(__file__).resolve().parent.parent))
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", code, "generate", "--model", "flat", "-f", "a cat"),
            *("-b", "a hill", "--steps", "5", "--count", "1000", "--json", "--seed", "1"),
            *("--preview", "preview.png", "-o", "a.psd", "-o", "a.ora"),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "a-2.ora").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.25)  # into the next picture
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert err.strip().splitlines()[-1] == "multiplane: interrupted; what was finished is whole"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert {"a-1.psd", "a-1.ora", "a-2.psd", "a-2.ora", "preview.png"} <= set(names)
    assert not [name for name in names if name.endswith(".tmp")]
    for name in names:
        if name != "preview.png":
            assert [layer.name for layer in read(tmp_path / name).leaves()] == ["a hill", "a cat"]
