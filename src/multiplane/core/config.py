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
    """Read `path` (TOML) into the dataclass `kind`. Raises FileNotFoundError, or ValueError naming
    the offending key."""
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
    """A dataclass from a mapping: nested dataclasses from nested mappings, lists as tuples, whole
    numbers where a float is asked. where: how messages name the table.

    Raises ValueError naming the offending key: unknown, missing, of another type, or refused by the
    dataclass itself."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    known = {field.name for field in fields}
    for key in table:
        if key not in known:
            raise ValueError(
                f"{where}: unknown key {key!r}; it may hold {', '.join(sorted(known))}"
            )
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    missing = [field.name for field in fields if _is_required(field) and field.name not in values]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}: add what it must hold")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    nothing = dataclasses.MISSING
    return field.default is nothing and field.default_factory is nothing


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` says. Raises ValueError, or TypeError for a hint that no config
    may have."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (option for option in kinds if option is not type(None))
        return None if value is None else _value(kind, value, where)
    if dataclasses.is_dataclass(hint):
        return from_table(typing.cast("type[Any]", hint), _table(value, where), where)
    if origin is tuple:
        return _tuple(kinds, value, where)
    if origin is dict:
        return {
            _value(kinds[0], key, where): _value(kinds[1], item, f"{where}.{key}")
            for key, item in _table(value, where).items()
        }
    if origin is typing.Literal:
        if value not in kinds:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, kinds))}, got {value!r}")
        return value
    if hint is Path:
        return Path(_plain(str, value, where))
    if hint is float and type(value) is int:
        return float(value)
    if hint in (int, float, str, bool):
        return _plain(hint, value, where)
    raise TypeError(f"{where}: a config cannot hold {hint}")


def _plain(kind: type[T], value: Any, where: str) -> T:
    if type(value) is not kind:  # True is no whole number here
        raise ValueError(f"{where} must be of type {kind.__name__}, got {value!r}")
    return value


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a table, got {value!r}")
    return value


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} must be a list, got {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where} takes {len(kinds)} values, got {len(value)}")
    return tuple(
        _value(kind, item, f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def to_table(config: Any) -> dict[str, Any]:
    """The plain, JSON-ready form of a config dataclass: what `from_table` reads back."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))
