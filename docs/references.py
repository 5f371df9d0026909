"""Write the references in ``docs/reference`` from the code: `python docs/references.py`, or `make docs`.

A page says the same on every machine: it is made from declarations, never from rendered help, and paths are relative.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, StrEnum
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from bms_pipeline.cli import app as command_line
from bms_pipeline.core import vocabulary
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.settings import ScheduleSettings, Settings
from bms_pipeline.reconcile import sync_settings

FOLDER = Path(__file__).parent / "reference"
RENEW = "python docs/references.py"
"""The command that renews the references."""

_NOTE = f"<!-- Written from the code by `{RENEW}`. Edit the code, and run it again. -->"
_PROGRAM = "bms-pipeline"
_SETTING_GROUPS = {
    "BMS_PIPELINE_": "The pipeline",
    "BMS_": "Kaseya BMS",
    "PASSPORTAL_": "Passportal",
    "NOTICE_": "Notifications",
    "NOTIFICATION_": "Notifications",
}
"""The first letters of a setting → the heading it stands under; the first that fits counts."""

_TYPE_NAMES = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "FILE", bool: ""}


def references() -> dict[str, str]:
    """Return each page's text by its file name."""
    pages = {"commands.md": _commands(), "settings.md": _settings(), "reasons.md": _reasons()}
    return {name: "\n".join(lines).rstrip() + "\n" for name, lines in pages.items()}


def write(folder: Path = FOLDER) -> None:
    """Write every page into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in references().items():
        (folder / name).write_text(text, encoding="utf-8")


# Commands


def _commands() -> Iterator[str]:
    root = cast("TyperGroup", get_command(command_line.app))
    exit_codes = inspect.cleandoc(command_line.__doc__ or "").split("\n\n", 1)[-1]
    yield from ("# Commands", "", _NOTE, "", *_prose(root.help), "", *_prose(exit_codes), "")
    yield "Each command shows its options with `--help`. Ids are those of BMS, unless the name says otherwise."
    for panel, commands in _panels(root).items():
        yield from ("", f"## {panel}")
        for name, command in commands.items():
            yield from _command(f"{_PROGRAM} {name}", command)


def _panels(group: TyperGroup) -> dict[str, dict[str, TyperCommand | TyperGroup]]:
    """Return the commands under the headings of ``--help``, in its order."""
    panels: dict[str, dict[str, TyperCommand | TyperGroup]] = {}
    for name, command in _visible(group):
        panel = command.rich_help_panel
        panels.setdefault(panel if isinstance(panel, str) else "General", {})[name] = command
    return panels


def _visible(group: TyperGroup) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    for name, command in cast("dict[str, TyperCommand | TyperGroup]", group.commands).items():
        if not command.hidden:
            yield name, command


def _command(name: str, command: TyperCommand | TyperGroup) -> Iterator[str]:
    arguments = [argument for argument in command.params if isinstance(argument, TyperArgument) and not argument.hidden]
    options = [option for option in command.params if isinstance(option, TyperOption) and not option.hidden]
    yield from ("", f"### {name}", "", *_prose(command.help))
    usage = [name, *(_placeholder(argument) for argument in arguments)]
    if options:
        usage.append("[OPTION]...")
    if command.context_settings.get("allow_extra_args"):
        usage.append("[-- COMMAND [ARGUMENT]...]")
    if isinstance(command, TyperGroup):
        usage.append("[VERB]" if command.invoke_without_command else "VERB")
    yield from ("", "```console", f"$ {' '.join(usage)}", "```")
    if arguments:
        rows = ([f"`{_placeholder(argument)}`", _help(argument)] for argument in arguments)
        yield from ("", *_table(("argument", "meaning"), rows))
    if options:
        rows = ([f"`{_spelled(option)}`", _help(option), _default(option)] for option in options)
        yield from ("", *_table(("option", "meaning", "default"), rows))
    if isinstance(command, TyperGroup):
        for verb, inner in _visible(command):
            yield from _command(f"{name} {verb}", inner)


def _placeholder(argument: TyperArgument) -> str:
    """Return the argument as the usage line shows it: ``ENTITY``, ``[FILE]``, ``[ID]...``."""
    name = argument.metavar or (argument.name or "").upper()
    if argument.metavar and not argument.metavar.isidentifier():
        return name
    name = name if argument.required else f"[{name}]"
    return f"{name}..." if argument.nargs == -1 else name


def _spelled(option: TyperOption) -> str:
    """Return the option as it is typed: ``-w, --workspace FILE...``; the dots are of one that can be repeated."""
    names = ", ".join(sorted((*option.opts, *option.secondary_opts), key=len))
    if option.is_flag:
        return names
    return f"{names} {option.metavar or _type_name(option)}{'...' if option.multiple else ''}"


def _type_name(option: TyperOption) -> str:
    type_ = option.type_descriptor
    if type_.is_choice:
        return "|".join(str(choice.value if isinstance(choice, Enum) else choice) for choice in type_.choices or ())
    annotation = get_args(type_.annotation)[0] if type_.is_list else type_.annotation
    return _TYPE_NAMES.get(annotation, "TEXT")


def _default(option: TyperOption) -> str:
    if option.required:
        return "required"
    # A flag is off; of what is empty the help says what that means.
    return "" if option.is_flag or option.default in (None, "") else f"`{_plain(option.default)}`"


def _help(parameter: TyperArgument | TyperOption) -> str:
    parts = [parameter.help or ""]
    if (parameter.min, parameter.max) != (None, None):
        parts.append(f"{_bounds(parameter.min, parameter.max).capitalize()}.")
    if parameter.envvar:
        parts.append(f"Else from `{parameter.envvar}`.")
    return " ".join(part for part in parts if part)


# Settings


def _settings() -> Iterator[str]:
    yield from ("# Settings", "", _NOTE, "")
    yield "There are two kinds. What a deployment decides once comes from the environment or from `.env`. What people"
    yield "revisit lies in the warehouse."
    yield from ("", "## From the environment or `.env`", "")
    yield "The environment goes first. An empty value counts as not set. Each secret may lie in a file of its own: name"
    yield "the file in the same setting with `_FILE` at its end. *[G]* marks a guess about a service"
    yield "([facts and guesses](../api_facts.md))."
    for heading, fields in _setting_groups().items():
        yield from ("", f"### {heading}", "")
        rows = (
            [f"`{name}`", _values(field), _setting_default(field), field.description or ""]
            for name, field in fields.items()
        )
        yield from _table(("setting", "values", "default", "meaning"), rows)
    yield from ("", "## Sync settings", "")
    yield "`bms-pipeline settings` shows them and `bms-pipeline settings set NAME=VALUE` changes them; so does the"
    yield "console. [What each does](../deciding.md#settings)."
    yield ""
    yield from _table(("setting", "values", "default"), _sync_settings())
    yield from ("", "[What each owner means](reasons.md#field-owner).")


def _setting_groups() -> dict[str, dict[str, FieldInfo]]:
    groups: dict[str, dict[str, FieldInfo]] = {}
    for kind in (Settings, ScheduleSettings):
        for field_name, field in kind.model_fields.items():
            name = field_name.upper()
            heading = next((title for start, title in _SETTING_GROUPS.items() if name.startswith(start)), "Dagster")
            groups.setdefault(heading, {})[name] = field
    return groups


def _values(field: FieldInfo) -> str:
    """Return the values of the setting, and whether it is a secret."""
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if SecretStr in kinds:
        return "**secret**"
    if Path in kinds:
        return "path"
    if bool in kinds:
        return "`true`, `false`"
    if str in kinds:
        return "text"
    limits = {name: getattr(limit, name) for limit in field.metadata for name in ("ge", "le") if hasattr(limit, name)}
    return _bounds(limits.get("ge"), limits.get("le")) if limits else "number"


def _setting_default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "" if default in (None, "") else f"`{_plain(default)}`"


def _sync_settings() -> Iterator[Sequence[str]]:
    hints = get_type_hints(sync_settings.SyncSettings)
    default = sync_settings.SyncSettings()
    for name, value in sync_settings.shown_setting(default).items():
        yield f"`{name}`", _sync_values(name, hints.get(name, bool)), f"`{_plain(value)}`"
    owners = ", ".join(f"`{owner}`" for owner in vocabulary.FieldOwner)
    yield "`owner.ENTITY.FIELD`", owners, f"`{default.owner(ENTITIES[0].name, '')}`"


def _sync_values(name: str, kind: object) -> str:
    if name == "identical_names":
        return ", ".join(f"`{value}`" for value in sync_settings.IDENTICAL_NAMES)
    by_kind = {
        bool: "`on`, `off`",
        float: "0 to 1",
        int: "number of days",
        list[str] | None: "`all`, or names separated by commas",
        list[int] | None: "`all`, or BMS account ids separated by commas",
    }
    return by_kind[kind]  # type: ignore[index]  # a new kind of setting has to be described here


# Reasons and the other words of a record's story


def _reasons() -> Iterator[str]:
    yield from ("# Reason codes, dispositions, outcomes", "", _NOTE, "")
    yield "Plans, exports, `explain` and the JSON output use these spellings. [The glossary](../glossary.md) has all"
    yield "other words."
    yield from ("", "## Reason codes", "")
    yield "Every record of a plan has one, also where nothing happens to it. `--reason CODE` selects records by it."
    yield from ("", *_table(("code", "meaning"), ([f"`{reason}`", reason.text] for reason in Reason)))
    documented = _docstrings(vocabulary)
    for name, kind in vars(vocabulary).items():
        if not (inspect.isclass(kind) and issubclass(kind, StrEnum) and kind.__module__ == vocabulary.__name__):
            continue
        text = kind.__doc__ or ""
        for member in kind:  # a page has the spelling of tables and JSON
            text = text.replace(f"``{member.name}``", f"`{member.value}`")
        yield from ("", f"## {_in_words(name)}", "", *_prose(text), "")
        meanings = {member: documented.get(f"{name}.{member.name}", "") for member in kind}
        if any(meanings.values()):
            rows = ([f"`{member.value}`", text] for member, text in meanings.items())
            yield from _table(("value", "meaning"), rows)
        else:
            yield from _table(("value",), ([f"`{member.value}`"] for member in meanings))


def _docstrings(module: ModuleType) -> dict[str, str]:
    """Return the docstrings under names and members of the module's classes: ``FieldOwner``, ``Outcome.DONE``."""
    found: dict[str, str] = {}

    def look(body: Sequence[ast.stmt], prefix: str) -> None:
        for statement, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.ClassDef):
                look(statement.body, f"{statement.name}.")
            match statement, following:
                case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                    found[prefix + name] = inspect.cleandoc(text)

    look(ast.parse(inspect.getsource(module)).body, "")
    return found


# Markdown


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table. The last column goes where it is empty in every row."""
    cells = [[_cell(text) for text in row] for row in rows]
    columns = len(head) if any(row[-1] for row in cells) else len(head) - 1
    yield f"| {' | '.join(head[:columns])} |"
    yield f"|{'---|' * columns}"
    for row in cells:
        yield f"| {' | '.join(row[:columns])} |"


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _prose(text: str | None) -> list[str]:
    """Return a docstring as lines of Markdown."""
    return [_escaped(line) for line in inspect.cleandoc(text or "").splitlines()]


def _escaped(text: str) -> str:
    """Return the text with Markdown's code spans, and no HTML outside them."""
    spans = re.split(r"(`+[^`]*`+)", text)
    return "".join(
        f"`{span.strip('`')}`" if span.startswith("`") else span.replace("<", "&lt;") for span in spans if span
    )


def _in_words(name: str) -> str:
    """Return a class's name as a heading: ``NewRecords`` as ``New records``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _bounds(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least} or more"
    return f"up to {most}" if least is None else f"{least} to {most}"


def _plain(value: Any) -> str:  # noqa: ANN401  # any default
    """Return a default as people write it, and a path without the folder that this process runs in."""
    match value:
        case Path():
            return value.name if value.is_absolute() else value.as_posix()
        case bool():
            return "on" if value else "off"
        case None:
            return "all"
        case Enum():
            return str(value.value)
        case _:
            return str(value)


if __name__ == "__main__":
    write(*(Path(folder) for folder in sys.argv[1:2]))
