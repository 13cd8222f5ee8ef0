"""Options made from settings: one definition gives the option, its help, its check."""

import dataclasses
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from eosin.core import ConfigError, load_config
from eosin.settings import Settings, find_rule, format_value, list_defaults, list_types

Command = Callable[..., None]
Kind = TypeVar("Kind", bound=Settings)

FILE = click.Path(path_type=Path)

# Options that take several values at once: --classes a=A,B b=C.
_SEVERAL = ("--classes", "--set", "--choose")


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

    def load(self, kind: type[Kind], **more: Any) -> Kind:
        """Make the settings of one class.

        Args:
            kind: The class.
            **more: Fields that the command itself knows.

        Raises:
            ConfigError: A setting is unknown, is for another kind of model, or does
                not fit its range.
        """
        given = {**self.options, **{k: v for k, v in more.items() if v is not None}}
        named = [*given, *(text.partition("=")[0].strip() for text in self.overrides)]
        own = list_defaults(kind)
        for name in named:
            others = [
                words for k, words in self.kinds.items() if name in list_defaults(k)
            ]
            if name not in own and others:
                raise ConfigError(
                    f"{name} is a setting of {' and of '.join(others)}; this is about "
                    f"{self.kinds.get(kind, kind.__name__)}"
                )
        return load_config(
            kind, path=self.config, overrides=self.overrides, given=given
        )


def of_settings(
    *names: str, kinds: Mapping[type[Settings], str]
) -> Callable[[Command], Command]:
    """Give a command options for some fields, `--config` and `--set` for all.

    The command takes what was given as `given`, a `Given`.

    Args:
        *names: The fields that have an option of their own; `seed` always has one.
        kinds: The classes of settings that the command may need, and what each is for,
            in words.
    """

    def decorate(command: Command) -> Command:
        def run(config: Path | None, settings: tuple[str, ...], **values: Any) -> None:
            fields = {f"set_{name}": name for name in wanted}
            given = {
                fields[key]: values.pop(key) for key in list(values) if key in fields
            }
            options = {k: v for k, v in given.items() if v not in (None, (), False)}
            command(given=Given(options, config, settings, kinds), **values)

        has_seed = any("seed" in list_defaults(kind) for kind in kinds)
        wanted = [*names, *(["seed"] if has_seed else [])]
        made: Command = run
        made.__doc__, made.__name__ = command.__doc__, command.__name__
        made.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        made = click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Any other setting; --settings lists them.",
        )(made)
        made = click.option("--config", type=FILE, help="TOML file with settings.")(
            made
        )
        made = click.option(
            "--settings",
            "lists_settings",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_make_lister(kinds),
            help="List all settings with their defaults.",
        )(made)
        for name in reversed(wanted):
            made = _make_option(name, kinds)(made)
        return made

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
    defaults = {
        words_of: list_defaults(kind)[name] for kind, words_of in owners.items()
    }
    shown = {
        text: format_value(value) or "none"
        for text, value in defaults.items()
        if value is not dataclasses.MISSING
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
            with formatter.section(f"Settings of {words}"):
                formatter.write_dl(
                    [
                        (
                            name
                            if default is dataclasses.MISSING
                            else f"{name} = {format_value(default) or '(empty)'}",
                            find_rule(kind, name).words.replace("`", ""),
                        )
                        for name, default in defaults.items()
                    ]
                )
        click.echo(formatter.getvalue())
        context.exit()

    return list_settings


def out(
    default: str | None = None, words: str = "Folder to write to."
) -> Callable[[Command], Command]:
    """Make the option `-o`; without a default it must be given."""
    return click.option(
        "-o",
        "--out",
        type=FILE,
        required=default is None,
        default=default or None,
        show_default=default is not None,
        help=words,
    )


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
    """Write `--classes a=A b=B` as `--classes a=A --classes b=B`."""
    spread: list[str] = []
    current = ""
    for word in arguments:
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
