"""The command `eosin`: one sub-command per step, errors as one clear line."""

import atexit
import functools
import gc
import importlib
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from eosin.cli.options import spread_values
from eosin.core import EosinError, __version__

# Each command by its group in the help: its module and what it does, so that the help
# of all imports none of them.
_COMMANDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Main job": {
        "demo": ("main_job", "Run the whole job on made slides."),
        "validate": ("main_job", "Are these slides? Open them and say what is wrong."),
        "tile": ("main_job", "Find tissue, cut the grid, label tiles."),
        "train": (
            "training",
            "Train a tile classifier, or a model of bags: multiple-instance learning "
            "(MIL) with attention.",
        ),
        "evaluate": ("training", "Score a model on patients it never saw."),
        "predict": ("main_job", "Score new slides or patches: heatmaps, QuPath."),
    },
    "Patches": {
        "fetch": ("patches", "Download a published data set."),
        "import": ("patches", "Put a patch data set behind a tile table."),
        "explore": ("patches", "Show what tiles hold."),
        "clean": ("patches", "Drop the tiles that rules name."),
    },
    "Bags": {
        "embed": ("bags", "Encode tiles into features."),
        "bags": ("bags", "Draw bags of tiles with known witnesses."),
        "limit": ("bags", "Find the smallest share of tumour that MIL still finds."),
    },
    "Trust": {
        "interpret": ("patches", "Show what a model looks at, and where it errs."),
    },
    "Set-up": {
        "doctor": ("main_job", "Is this machine ready?"),
    },
}


class _Commands(click.Group):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names, in the order of the help."""
        del ctx
        return [name for group in _COMMANDS.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where there is none of this name."""
        del ctx
        for group in _COMMANDS.values():
            if cmd_name in group:
                module = importlib.import_module(f"eosin.cli.{group[cmd_name][0]}")
                command: click.Command = module.COMMANDS[cmd_name]
                if command.callback is not None:
                    command.callback = _end_at_once(command.callback)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which was probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from eosin.core import suggest

            nearest = suggest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"{error.message}{nearest}", ctx) from error

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the commands group by group."""
        del ctx
        for title, group in _COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, words) for name, (_, words) in group.items()]
                )


# By which clusters end a job whose time is up, and a terminal that is closed its own.
# Windows has no SIGHUP.
_ENDS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]


# That `tile` and `predict` import are some more.
_IMPORTED_OBJECTS = 100_000


class _TerminatedError(KeyboardInterrupt):
    """A signal that ends the command; recorded as Ctrl-C is."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _terminate(number: int, _frame: object) -> None:
    if number != signal.SIGTERM:
        # Nobody can write to a terminal that is gone; whoever did on the way out would
        # make a failure of the interruption.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    raise _TerminatedError(number)


def _end_at_once(command: Callable[..., None]) -> Callable[..., None]:
    """Let Ctrl-C and what else ends a process do so without waiting for threads.

    They may sit in a long read or a model; every output is moved into place whole,
    so nothing is lost.
    """

    @functools.wraps(command)
    def run_command(*args: Any, **options: Any) -> None:
        older = {number: signal.getsignal(number) for number in _ENDS}
        for number in _ENDS:
            # What nohup was asked to leave alone stays so.
            if older[number] is not signal.SIG_IGN:
                signal.signal(number, _terminate)
        try:
            command(*args, **options)
        except KeyboardInterrupt as error:
            # Nobody presses it once only.
            for number in (signal.SIGINT, *_ENDS):
                signal.signal(number, signal.SIG_IGN)
            number = getattr(error, "number", signal.SIGINT)
            word = "Interrupted" if number == signal.SIGINT else "Terminated"
            click.echo(f"\n{word}. The same command again finishes the work.", err=True)
            sys.stdout.flush()
            os._exit(128 + number)
        finally:
            for number, handler in older.items():
                if handler is not None:
                    signal.signal(number, handler)

    return run_command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Any command takes --debug, which shows an error's traceback.",
)
@click.version_option(__version__, message="eosin %(version)s")
def app() -> None:
    """From H&E slides to a tumour detector that can be trusted."""


def _spare_waiting() -> None:
    """Leave out what every start and end of a command would wait for."""
    # Imports make much and drop nothing; looking for what they dropped took 0.06 of
    # the 0.6 s in which `predict` is imported, and at the end 0.08 s again. What works
    # after them is collected as usual: training took 1.6 GB more without.
    usual = gc.get_threshold()

    def end(phase: str, _: object) -> None:
        if phase == "stop":
            gc.callbacks.remove(end)
            gc.freeze()
            gc.set_threshold(*usual)

    gc.callbacks.append(end)
    gc.set_threshold(_IMPORTED_OBJECTS)
    atexit.register(gc.freeze)
    # OpenBLAS (in NumPy, SciPy and OpenCV, each its own) lets threads spin for 2**26
    # cycles before they sleep, by default: 0.2 s of processor for nothing.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def run() -> None:
    """Run the command line; the exit code is 0, 1, 2, or 128 and a signal's number."""
    # With the work done and told, only the exit is left to be interrupted.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    _spare_waiting()
    arguments = sys.argv[1:]
    # Of damaged files it tells on its own account what the error says anyway.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    is_debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"]
    try:
        app(spread_values(words), prog_name="eosin")
    except EosinError as error:
        if is_debug:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        if is_debug:
            raise
        click.echo(
            f"Error: {type(error).__name__}: {error}\nThis was not foreseen; run the "
            "command again with --debug and report what it prints.",
            err=True,
        )
        sys.exit(1)
