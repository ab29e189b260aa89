"""The command `multiplane`: its subcommands, and how what goes wrong is said.

Exit codes: 0 done, 1 it could not be done, 2 it was asked for wrongly, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn, TextIO

import typer

import multiplane
from multiplane.apps.cli import (
    data,
    decompose,
    edit,
    evaluate,
    evaluate_compare,
    evaluate_cutout,
    files,
    models,
    weights,
)
from multiplane.apps.cli import generate as generating
from multiplane.apps.cli.terminal import plain_text
from multiplane.core.request import RequestError
from multiplane.weights.fetch import FetchError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# The base of every usage error; where it is defined differs between releases of typer.
_COMMAND_LINE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]  # type: ignore[assignment]

app = typer.Typer(
    name="multiplane",
    help="Make, edit and take apart layered pictures.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(generating.generate)
app.command()(edit.add)
app.command()(edit.regenerate)
app.command()(edit.inpaint)
app.command()(decompose.decompose)
app.command()(files.inspect)
app.command()(files.convert)
app.command()(models.models)
app.add_typer(data.app, name="data")
evaluate.app.command()(evaluate_cutout.cutout)
evaluate.app.command()(evaluate_compare.compare)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(weights.app, name="weights")


def _print_version(asked: bool) -> None:
    if asked:
        print(multiplane.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Say the version."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code; an error is one line on standard error."""
    warnings.showwarning = _show_warning
    for library in ("DIFFUSERS", "TRANSFORMERS"):  # read when they are imported
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments) or ["--help"]))


def _run(arguments: list[str]) -> int:
    try:
        code = app(args=arguments, prog_name="multiplane", standalone_mode=False) or DONE
    except (KeyboardInterrupt, typer.Abort):  # releases of typer differ: this, or the code 130
        code = INTERRUPTED
    except RequestError as error:
        _say_error(str(error))
        return USAGE
    except _COMMAND_LINE_ERROR as error:
        _say_error(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
        return USAGE
    except BrokenPipeError:  # whoever read our output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        _say_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return FAILED
    except MemoryError as error:
        _say_error(f"not enough memory ({error}): use a smaller size")
        return FAILED
    except (FetchError, ValueError, ImportError) as error:
        _say_error(str(error))
        return FAILED
    if code == INTERRUPTED:
        _say_error("interrupted; what was finished is whole")
    return code


def _say_error(message: str) -> None:
    sys.stderr.write(f"multiplane: {plain_text(' '.join(message.split()))}\n")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, UserWarning):
        _say_error(str(message))


if __name__ == "__main__":
    main()
