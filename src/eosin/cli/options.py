"""Options made from settings: one definition gives the option, its help, its check."""

import dataclasses
import functools
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click

from eosin.core import ConfigError, TerminalProgress, load_config, require_keras
from eosin.settings import Settings, find_rule, format_value, list_defaults, list_types

Command = Callable[..., None]
Kind = TypeVar("Kind", bound=Settings)

FILE = click.Path(path_type=Path)

# Options that take several values at once: --classes a=A,B b=C.
_SEVERAL = ("--classes", "--set", "--choose")
# How else people write an option, and its name.
_ALSO = {"--class": "--classes", "--by": "--unit"}


@dataclass(frozen=True, eq=False)
class Given:
    """What a command was told of settings.

    Attributes:
        options: Texts by field, of options that were given.
        config: A TOML file; None without one.
        overrides: What `--set` says, `field=value` each.
        kinds: What each class of settings that the command knows is for, in words.
    """

    options: Mapping[str, Any]
    config: Path | None
    overrides: Sequence[str]
    kinds: Mapping[type[Settings], str]

    def load(
        self,
        kind: type[Kind],
        *,
        defaults: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Kind:
        """Make the settings of one class.

        Args:
            kind: The class.
            defaults: What stands in for its own defaults, by field.
            **more: Fields that the command itself knows.

        Raises:
            ConfigError: A setting is unknown, is for another kind of model, or does
                not fit its range.
        """
        given = {**self.options, **{k: v for k, v in more.items() if v is not None}}
        named = [*given, *(text.partition("=")[0].strip() for text in self.overrides)]
        for name in named:
            owners = {
                k: text for k, text in self.kinds.items() if name in list_types(k)
            }
            if owners and kind not in owners:
                raise ConfigError(
                    f"{name} is a setting of {' and of '.join(owners.values())}; this "
                    f"is about {self.kinds[kind]}"
                )
        return load_config(
            kind,
            path=self.config,
            overrides=self.overrides,
            given=given,
            defaults=defaults,
        )


def of_settings(
    names: Sequence[str], kinds: Mapping[type[Settings], str]
) -> Callable[[Command], Command]:
    """Give a command options for some fields, `--config` and `--set` for all.

    The command takes what was given as `given`, a `Given`.

    Args:
        names: The fields that have an option of their own; `seed` always has one.
        kinds: The classes of settings that the command may need, and what each is for,
            in words.
    """
    has_seed = any("seed" in list_defaults(kind) for kind in kinds)
    wanted = [*names, *(["seed"] if has_seed else [])]

    def decorate(command: Command) -> Command:
        def run(config: Path | None, settings: tuple[str, ...], **values: Any) -> None:
            texts = {name: values.pop(f"set_{name}") for name in wanted}
            given = {k: v for k, v in texts.items() if v not in (None, (), False)}
            command(given=Given(given, config, settings, kinds), **values)

        options: tuple[Callable[[Command], Command], ...] = (
            click.option(
                "--set",
                "settings",
                multiple=True,
                metavar="FIELD=VALUE",
                help="Any other setting; --settings lists them.",
            ),
            click.option("--config", type=FILE, help="TOML file with settings."),
            click.option(
                "--settings",
                "lists_settings",
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_make_lister(kinds),
                help="List all settings with their defaults.",
            ),
            *(_make_option(name, kinds) for name in reversed(wanted)),
        )
        made: Command = functools.wraps(command)(run)
        for option in options:
            made = option(made)
        return made

    return decorate


def step(
    workflow: str,
    kind: type[Settings],
    about: str,
    fields: Sequence[str],
    *,
    what: Sequence[str] = ("tiles",),
    needs: str = "",
    more: Sequence[Callable[[Command], Command]] = (),
) -> Callable[[Command], Command]:
    """Make a command of a workflow `(what..., out, settings, *, ...)`.

    The function below it tells what came of it: it takes the result, the folder that
    was written to, and `what`. What else the command is given goes to the workflow by
    its name, or, where it is a setting, to the settings.

    Args:
        workflow: Its place in `eosin.workflows`, such as `embed.embed_tiles`.
        kind: Its settings.
        about: What these are for, in words.
        fields: Those that have an option of their own.
        what: The arguments that are worked on.
        needs: What needs the extra `train`, in words; nothing does where it is empty.
        more: Further options.
    """
    module, function = workflow.split(".")

    def decorate(tell: Command) -> Command:
        def run(out: Path, given: Given, **values: Any) -> None:
            own = {name: values.pop(name) for name in {*values} & {*list_types(kind)}}
            settings = given.load(kind, **own)
            if needs:
                require_keras(needs)
            work = getattr(import_module(f"eosin.workflows.{module}"), function)
            places = [values.pop(name) for name in what]
            progress = TerminalProgress()
            result = work(*places, out, settings, progress=progress, **values)
            tell(result, out, *places)

        made: Command = functools.wraps(tell)(run)
        for option in reversed(more):
            made = option(made)
        return output()(of_settings(fields, {kind: about})(made))

    return decorate


def _make_option(
    name: str, kinds: Mapping[type[Settings], str]
) -> Callable[[Command], Command]:
    """Make the option of one field."""
    owners = {kind: words for kind, words in kinds.items() if name in list_types(kind)}
    first = next(iter(owners))
    hint = list_types(first)[name]
    how: dict[str, Any] = {"type": str, "metavar": _name_type(hint)}
    if hint is bool:
        how = {"is_flag": True, "default": None}
    elif typing.get_origin(hint) is tuple:
        how["multiple"] = name in ("classes", "choose")
    flag = "--" + name.replace("_", "-")
    return click.option(flag, f"set_{name}", help=_describe(name, owners), **how)


def _describe(name: str, owners: Mapping[type[Settings], str]) -> str:
    """Say what a setting is and what it is by default, for every kind of model."""
    words = find_rule(next(iter(owners)), name).words.replace("`", "")
    shown = {
        text: format_value(list_defaults(kind)[name]) or "none"
        for kind, text in owners.items()
        if list_defaults(kind)[name] is not dataclasses.MISSING
    }
    if not shown:
        return words
    usual = next(iter(shown.values()))
    others = [f"{text}: {value}" for text, value in shown.items() if value != usual]
    return f"{words} [{'; '.join([usual, *others])}]"


def _name_type(hint: Any) -> str:
    """Name what an option takes, such as NUMBER."""
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            return "|".join(map(str, typing.get_args(option)))
        if option in (int, float):
            return "NUMBER"
    return "TEXT"


def _make_lister(kinds: Mapping[type[Settings], str]) -> Callable[..., None]:
    """Print every setting of a command, and go no further."""

    def list_settings(context: click.Context, _option: Any, value: bool) -> None:
        if not value or context.resilient_parsing:
            return
        formatter = click.HelpFormatter(width=88)
        for kind, words in kinds.items():
            defaults = list_defaults(kind)
            rows = []
            for name, default in defaults.items():
                shown = f"{name} = {format_value(default) or '(empty)'}"
                if default is dataclasses.MISSING:
                    shown = name
                rows.append((shown, find_rule(kind, name).words.replace("`", "")))
            with formatter.section(f"Settings of {words}"):
                formatter.write_dl(rows)
        click.echo(formatter.getvalue())
        context.exit()

    return list_settings


def output(default: str | None = None) -> Callable[[Command], Command]:
    """Make the option `-o`; without a default it must be given."""
    how: dict[str, Any] = {"default": default, "show_default": True}
    if default is None:
        # A default of None would be one, and nothing would have to be given.
        how = {"required": True}
    return click.option("-o", "--out", type=FILE, help="Folder to write to.", **how)


overwrite = click.option(
    "--overwrite", is_flag=True, help="Replace a result of other settings."
)
workers = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=min(4, os.cpu_count() or 1),
    show_default=True,
    help="Slides worked on at once.",
)


def spread_values(arguments: Sequence[str]) -> list[str]:
    """Write `--classes a=A b=B` as `--classes a=A --classes b=B`, `--class` too."""
    spread: list[str] = []
    current = ""
    for given in arguments:
        name, equals, value = given.partition("=")
        word = _ALSO.get(name, name) + equals + value
        if word.startswith("-"):
            current = word if word in _SEVERAL else ""
        elif spread and spread[-1] != current and _is_value(current, word):
            spread.append(current)
        spread.append(word)
    return spread


def _is_value(option: str, word: str) -> bool:
    """Whether a word is one more value of an option, well formed or not."""
    if option == "--classes":
        # A plain class name, as `--classes normal tumor`; a path is none.
        return "=" in word or ("/" not in word and not Path(word).exists())
    return bool(option) and "=" in word
