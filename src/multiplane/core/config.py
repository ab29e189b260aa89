"""Typed configuration: a TOML table into a frozen dataclass; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_config(kind: type[T], path: Path) -> T:
    """Read `path` (TOML) into the dataclass `kind`. Raises ValueError naming the offending key."""
    try:
        import tomllib  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # pyright: ignore[reportMissingImports]
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    return from_table(kind, table, str(path))


def from_table(kind: type[T], table: Mapping[str, Any], where: str = "config") -> T:
    """A dataclass from a mapping, nested dataclasses from nested mappings, lists as tuples."""
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    for key in table:
        if key not in known:
            raise ValueError(
                f"{where}: unknown key {key!r}; it may hold {', '.join(sorted(known))}"
            )
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _value(options[0], value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_table(typing.cast("type[Any]", hint), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, got {value!r}")
        kinds = typing.get_args(hint)
        inner = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else list(kinds)
        if len(inner) != len(value):
            raise ValueError(f"{where} takes {len(inner)} values, got {len(value)}")
        return tuple(_value(k, v, where) for k, v in zip(inner, value, strict=True))
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            allowed = ", ".join(map(repr, typing.get_args(hint)))
            raise ValueError(f"{where} must be one of {allowed}, got {value!r}")
        return value
    if hint is Path:
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = origin or hint
    if isinstance(plain, type) and plain in (int, float, str, bool):
        if type(value) is not plain:
            raise ValueError(f"{where} must be a {plain.__name__}, got {value!r}")
    elif isinstance(plain, type) and plain in (dict,) and not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a table, got {value!r}")
    return value


def to_table(config: Any) -> dict[str, Any]:
    """The plain, JSON- and TOML-ready form of a config dataclass."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))
