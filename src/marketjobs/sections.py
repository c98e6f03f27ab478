"""What settings are made of: sections of keys, each read from TOML or from a variable's text, checked and frozen.

A small reader of our own: a general library for this costs every command more than all the rest of it does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Self

Check = Callable[[Any], Any]
"""Gives the value in the spelling that we use, or raises ValueError saying what was expected."""

_TRUE = ("true", "1", "yes", "on", "y", "t")
_FALSE = ("false", "0", "no", "off", "n", "f")


class Wrong(ValueError):
    """What was given can't be right: ``path`` is the key below the section, ``why`` a part of a sentence."""

    def __init__(self, why: str, given: Any) -> None:
        super().__init__(why)
        self.why = why
        self.given = given
        self.path: tuple[str, ...] = ()


class UnknownKey(Wrong):
    pass


class NoList(Wrong):
    pass


class Secret:
    """A text that shows itself to nobody by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(********)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Setting:
    """A key: its default, what may be given, what it is for.

    ``ge``, ``gt``, ``le`` bound a number; ``choices`` are all that may be given.
    """

    __slots__ = ("choices", "default", "description", "ge", "gt", "le", "read")

    def __init__(
        self,
        default: Any,
        read: Check,
        description: str = "",
        *,
        choices: Sequence[str] = (),
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
    ) -> None:
        self.default = default
        self.read = read
        self.description = description
        self.choices = choices
        self.ge, self.gt, self.le = ge, gt, le


def text(default: str, *, description: str, check: Check | None = None) -> Any:
    return Setting(default, lambda given: _checked(_string(given), check), description)


def choice(default: str, choices: Sequence[str], *, description: str) -> Any:
    return Setting(default, lambda given: _one_of(given, choices), description, choices=choices)


def flag(default: bool, *, description: str) -> Any:
    return Setting(default, _flag, description)


def integer(default: int, *, ge: int, le: int, description: str, check: Check | None = None) -> Any:
    def read(given: Any) -> Any:
        return _checked(_bounded(_integer(given), given, ge, None, le), check)

    return Setting(default, read, description, ge=ge, le=le)


def number(
    default: float, *, description: str, ge: float | None = None, gt: float | None = None, le: float | None = None
) -> Any:
    return Setting(default, lambda given: _bounded(_number(given), given, ge, gt, le), description, ge=ge, gt=gt, le=le)


def texts(default: Sequence[str], *, description: str, choices: Sequence[str] = (), check: Check | None = None) -> Any:
    """A list with at least one item."""

    def read(given: Any) -> list[str]:
        items = [_one_of(one, choices) if choices else _string(one) for one in _list(given)]
        if not items:
            raise Wrong("expected at least one item", given)
        return list(_checked(items, check))

    return Setting(list(default), read, description, choices=choices)


def optional_texts(*, description: str, check: Check | None = None) -> Any:
    """A list, empty by default."""
    return Setting([], lambda given: list(_checked([_string(one) for one in _list(given)], check)), description)


def secrets(*, description: str, check: Check | None = None) -> Any:
    """A list, empty by default."""

    def read(given: Any) -> list[Secret]:
        return [Secret(one) for one in _checked([_string(one) for one in _list(given)], check)]

    return Setting([], read, description)


def section(kind: type[Section]) -> Any:
    return Setting(kind(), kind.read)


class Section:
    """A frozen table of settings.  It has no repr of its own, so that none of its values is shown by accident.

    Attributes:
        keys: its settings by name, in the order of the file.
        others: what a key that is not among them holds; ``None``: there may be none.
        extra: the keys that were given beside them.
    """

    keys: ClassVar[dict[str, Setting]] = {}
    others: ClassVar[type[Section] | None] = None
    extra: dict[str, Any]

    def __init_subclass__(cls) -> None:
        cls.keys = cls.keys | {name: one for name, one in vars(cls).items() if isinstance(one, Setting)}

    def __init__(self, /, **given: Any) -> None:
        extra: dict[str, Any] = {}
        values = vars(self)
        for name, setting in self.keys.items():
            if name in given:
                values[name] = _below(name, setting.read, given[name])
            else:
                values[name] = copy.deepcopy(setting.default)  # lists can be changed
        for name in given.keys() - self.keys.keys():
            extra[name] = _below(name, self.others.read if self.others else _unknown, given[name])
        values["extra"] = extra

    @classmethod
    def read(cls, given: Any) -> Self:
        """Raises Wrong for whatever is no table of ours."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, dict):
            raise Wrong("expected a table", given)
        return cls(**given)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings are frozen: {name}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = vars(self), vars(other)
        return all(mine[name] == theirs[name] for name in (*self.keys, "extra"))

    __hash__ = None  # type: ignore[assignment]  # lists are among the values


def _below(name: str, read: Check, given: Any) -> Any:
    try:
        return read(given)
    except Wrong as exc:
        exc.path = (name, *exc.path)
        raise


def _unknown(given: Any) -> Any:
    raise UnknownKey("unknown key", given)


def _checked(value: Any, check: Check | None) -> Any:
    if check is None:
        return value
    try:
        return check(value)
    except ValueError as exc:
        raise Wrong(str(exc), value) from exc


def _string(given: Any) -> str:
    if not isinstance(given, str):
        raise Wrong("expected a string", given)
    return given


def _one_of(given: Any, choices: Sequence[str]) -> str:
    if given not in choices:
        *first, last = map(repr, choices)
        raise Wrong(f"expected {', '.join(first)} or {last}", given)
    return str(given)


def _list(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise NoList("expected a list", given)
    return given


def _flag(given: Any) -> bool:
    word = str(given).strip().lower() if isinstance(given, str | int) else ""
    if word not in _TRUE + _FALSE:
        raise Wrong("expected true or false", given)
    return word in _TRUE


def _integer(given: Any) -> int:
    if isinstance(given, str):
        with suppress(ValueError):
            return int(given)
    elif isinstance(given, float) and given.is_integer():
        return int(given)
    elif isinstance(given, int) and not isinstance(given, bool):
        return given
    raise Wrong("expected an integer", given)


def _number(given: Any) -> float:
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        with suppress(ValueError, OverflowError):
            value = float(given)
            if math.isfinite(value):
                return value
    raise Wrong("expected a number", given)


def _bounded(value: float, given: Any, ge: float | None, gt: float | None, le: float | None) -> float:
    if ge is not None and value < ge:
        raise Wrong(f"expected greater than or equal to {ge:g}", given)
    if gt is not None and value <= gt:
        raise Wrong(f"expected greater than {gt:g}", given)
    if le is not None and value > le:
        raise Wrong(f"expected less than or equal to {le:g}", given)
    return value
