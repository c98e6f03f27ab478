"""The error tree: complete, drawn, and each cause a word of its own."""

from __future__ import annotations

import copy
import pickle
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from marketjobs import errors
from marketjobs.errors import MarketJobsError, ProviderError


def tree(root: type[MarketJobsError] = MarketJobsError) -> Iterator[type[MarketJobsError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


CLASSES = list(tree())


def example(cls: type[MarketJobsError], message: str = "it broke") -> MarketJobsError:
    if issubclass(cls, ProviderError):
        return cls(message, provider="yahoo", symbol="AAPL", retry_after_seconds=7.5, hint="wait")
    return cls(message, hint="wait")


def test_every_error_of_the_module_is_in_the_tree() -> None:
    found = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert found == set(CLASSES)


def test_each_cause_is_a_word_of_its_own() -> None:
    counted = Counter(cls.cause for cls in CLASSES)
    assert [cause for cause, number in counted.items() if number > 1] == []
    for cls in CLASSES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", cls.cause), cls
        assert "cause" in vars(cls), f"{cls.__name__} inherits its cause"


def test_the_drawing_shows_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, int] = {}
    for line in errors.__doc__.split("MarketJobsError", 1)[1].split("\n\n")[0].splitlines():
        for name in re.findall(r"\b[A-Z]\w+", line):
            drawn[name] = len(line) - len(line.lstrip())
    assert set(drawn) == {cls.__name__ for cls in CLASSES} - {"MarketJobsError"}
    for cls in CLASSES:
        for child in cls.__subclasses__():
            if child in CLASSES:
                assert drawn[child.__name__] == drawn.get(cls.__name__, 4) + 2, child


@pytest.mark.parametrize("cls", CLASSES)
def test_a_message_is_one_line(cls: type[MarketJobsError]) -> None:
    error = example(cls, "it\n  broke\tbadly\r\n")
    assert str(error) == error.message == "it broke badly"
    assert error.hint == "wait"


@pytest.mark.parametrize(
    ("cause", "retryable"),
    [
        ("rate_limited", True),
        ("blocked", True),
        ("quota_exhausted", True),
        ("unauthorised", True),
        ("plan_restricted", False),
        ("symbol_unknown", False),
        ("symbol_delisted", False),
        ("range_unavailable", False),
        ("no_data", False),
        ("unsupported", False),
        ("malformed_answer", True),
        ("provider_unavailable", True),
        ("storage_unavailable", True),
        ("cache_unavailable", True),
        ("invalid_input", False),
        ("config", False),
        ("cancelled", False),
        ("lease_lost", False),
        ("time_limit", True),
        ("out_of_memory", True),
    ],
)
def test_may_trying_again_help(cause: str, retryable: bool) -> None:
    (cls,) = [cls for cls in CLASSES if cls.cause == cause]
    assert cls.retryable is retryable


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, ProviderError)])
def test_a_providers_error_survives_the_way_out_of_a_pool_process(cls: type[ProviderError]) -> None:
    error = example(cls)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (again.message, again.hint, again.provider, again.symbol, again.retry_after_seconds) == (
        "it broke",
        "wait",
        "yahoo",
        "AAPL",
        7.5,
    )
    assert copy.copy(error).provider == "yahoo"


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if not issubclass(cls, ProviderError)])
def test_an_error_survives_the_way_out_of_a_pool_process(cls: type[MarketJobsError]) -> None:
    again = pickle.loads(pickle.dumps(example(cls)))
    assert type(again) is cls
    assert (again.message, again.hint) == ("it broke", "wait")
