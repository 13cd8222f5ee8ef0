"""The command `eosin`: one sub-command per step, errors as one clear line."""

import atexit
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console

from eosin import __version__
from eosin.cli.bags import bags
from eosin.cli.clean import clean
from eosin.cli.demo import demo
from eosin.cli.doctor import doctor
from eosin.cli.embed import embed
from eosin.cli.evaluate import evaluate
from eosin.cli.explore import explore
from eosin.cli.fetch import fetch
from eosin.cli.import_patches import import_patches
from eosin.cli.interpret import interpret
from eosin.cli.lr_find import lr_find
from eosin.cli.mil import mil
from eosin.cli.options import spread_values
from eosin.cli.predict import predict
from eosin.cli.tile import tile
from eosin.cli.train import train
from eosin.cli.validate import validate
from eosin.core import EosinError

app = typer.Typer(
    name="eosin",
    help="From H&E slides to a tumour detector that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, by which clusters end a job whose time is up; recorded as Ctrl-C is."""


def _terminate(_number: int, _frame: object) -> None:
    raise _TerminatedError


def _end_at_once(command: Callable[..., None]) -> Callable[..., None]:
    """Let Ctrl-C or SIGTERM end the process without waiting for worker threads.

    They may sit in a long read or a model; every output is moved into place whole,
    so nothing is lost.
    """

    @functools.wraps(command)
    def run_command(*args: Any, **options: Any) -> None:
        older = signal.signal(signal.SIGTERM, _terminate)
        try:
            command(*args, **options)
        except KeyboardInterrupt as error:
            # Nobody presses it once only.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            is_terminated = isinstance(error, _TerminatedError)
            said = "Terminated" if is_terminated else "Interrupted"
            typer.echo(f"\n{said}. The same command again finishes the work.", err=True)
            sys.stdout.flush()
            os._exit(143 if is_terminated else 130)
        finally:
            signal.signal(signal.SIGTERM, older)

    return run_command


_COMMANDS = (doctor, validate, tile, explore, clean, train, evaluate, predict, embed)
for _command in (*_COMMANDS, interpret, fetch, demo):
    app.command()(_end_at_once(_command))
app.command("lr-find")(_end_at_once(lr_find))
# A name that Python keeps for itself.
app.command("import")(_end_at_once(import_patches))
for _group in (bags, mil):
    for _step in _group.registered_commands:
        _step.callback = _end_at_once(_step.callback) if _step.callback else None
    app.add_typer(_group)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"eosin {__version__}")
        raise typer.Exit


@app.callback(epilog="Any command takes --debug, which shows an error's traceback.")
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version.",
    ),
) -> None:
    del version


def run() -> None:
    """Run the command line; the process's exit code is 0, 1, 2, 130 or 143."""
    # With the work done and told, only the exit is left to be interrupted.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    arguments = sys.argv[1:]
    # Of damaged files it tells on its own account what the error says anyway.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    is_debug = "--debug" in arguments
    console = Console(stderr=True)
    try:
        words = [word for word in arguments if word != "--debug"]
        app(spread_values(words), prog_name="eosin")
    except EosinError as error:
        if is_debug:
            raise
        console.print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except Exception as error:
        if is_debug:
            raise
        console.print(
            f"Error: {type(error).__name__}: {error}\nThis was not foreseen; run the "
            "command again with --debug and report what it prints.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(1)
