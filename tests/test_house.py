"""The house itself: imports run downward, `import multiplane` is quick, no file grows too long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 500
HEAVY = ("torch", "transformers", "diffusers", "accelerate", "scipy", "psd_tools", "rich", "numpy")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def test_imports_run_down_the_house() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_import_brings_next_to_nothing() -> None:
    """What it takes is counted in modules, not in seconds: those depend on the machine."""
    code = (
        "import sys; before = set(sys.modules)\nimport multiplane\n"
        "print(*(set(sys.modules) - before))"
    )
    brought = run(code).split()
    assert {name for name in brought if name.partition(".")[0] in HEAVY} == set()
    assert not [name for name in brought if name.startswith("multiplane.")]
    assert len(brought) < 100  # of the standard library


def test_core_and_files_never_bring_torch() -> None:
    code = (
        "import sys, multiplane\n"
        "[getattr(multiplane, name) for name in multiplane.__all__]\n"
        "print([n for n in ('torch', 'transformers', 'diffusers') if n in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_help_brings_no_torch_and_no_compositor() -> None:
    code = (
        "import sys\n"
        "from multiplane.apps.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = ('torch', 'transformers', 'psd_tools', 'scipy', 'multiplane.engine')\n"
        "print([n for n in heavy if n in sys.modules])"
    )
    assert run(code).strip().splitlines()[-1] == "[]"


def test_every_public_name_is_there() -> None:
    import multiplane

    for name in multiplane.__all__:
        assert getattr(multiplane, name) is not None
    assert set(multiplane.__all__) <= set(dir(multiplane))
    with pytest.raises(AttributeError, match="no attribute 'generate_everything'"):
        multiplane.generate_everything  # noqa: B018


def test_the_version_of_the_package_is_the_one_it_says() -> None:
    import importlib.metadata

    import multiplane

    assert importlib.metadata.version("multiplane") == multiplane.__version__


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_no_file_is_longer_than_it_may_be(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long, f"split these, a file is about one thing: {long}"


def test_no_drawer_for_everything() -> None:
    names = {path.stem for path in (ROOT / "src").rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
