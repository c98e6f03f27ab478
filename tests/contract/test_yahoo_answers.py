"""Yahoo beside bars: quotes of many symbols, profiles, news, search; and the cookie and crumb for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.providers import NOW, RecordingGate, ask
from contract.test_yahoo import connection
from marketjobs.domain.assets import AssetClass, Listing
from marketjobs.domain.bars import BarQuery
from marketjobs.domain.intervals import Interval
from marketjobs.domain.news import NewsQuery
from marketjobs.domain.profiles import FIGURES
from marketjobs.domain.quotes import Quote, broken_rule
from marketjobs.domain.ranges import Range
from marketjobs.errors import (
    Blocked,
    BudgetSpent,
    MalformedAnswer,
    NoData,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SymbolUnknown,
    Unauthorised,
    Unsupported,
)
from marketjobs.providers.yahoo import Yahoo
from vendor import Vendor

CRUMB = "/v1/test/getcrumb"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor(now=NOW) as vendor:
        yield vendor


@pytest.fixture
def gate() -> RecordingGate:
    return RecordingGate()


@pytest.fixture
def provider(vendor: Vendor, gate: RecordingGate) -> Iterator[Yahoo]:
    provider = Yahoo(connection(gate, vendor.url))
    yield provider
    provider.close()


def quotes(provider: Yahoo, *symbols: str) -> dict[str, Quote | ProviderError]:
    found = asyncio.run(provider.quotes([Listing(symbol) for symbol in symbols]))
    return {listing.symbol: one for listing, one in found.items()}


def paths(vendor: Vendor) -> list[str]:
    return [request.path for request in vendor.requests]


# -- quotes -----------------------------------------------------------------------------------------------


def test_many_quotes_are_one_request_after_cookie_and_crumb(
    provider: Yahoo, vendor: Vendor, gate: RecordingGate
) -> None:
    symbols = [f"SYN{number}" for number in range(99)]
    found = quotes(provider, *symbols)
    assert paths(vendor) == ["/", CRUMB, "/v7/finance/quote"]
    assert list(found) == symbols
    quotes(provider, *symbols)
    assert paths(vendor)[3:] == ["/v7/finance/quote"], "both are kept"
    assert gate.spent == 4, "cookie and crumb are spent for too"
    for symbol, one in found.items():
        *_, before, last = vendor.bars(symbol)
        assert isinstance(one, Quote)
        assert (one.price, one.previous_close, one.day_high, one.volume) == (
            last.close,
            before.close,
            last.high,
            float(last.volume),
        )
        assert one.change_percent == pytest.approx((last.close / before.close - 1) * 100)
        assert one.at == NOW - 2 * 3600
        assert one.currency == "USD"
        assert broken_rule(one, NOW) is None


def test_more_than_yahoo_takes_is_not_sent(provider: Yahoo, vendor: Vendor) -> None:
    with pytest.raises(Unsupported, match="takes 99 symbols"):
        quotes(provider, *(f"SYN{number}" for number in range(100)))
    assert asyncio.run(provider.quotes([])) == {}
    assert not vendor.requests


def test_each_symbol_has_its_quote_or_its_reason(provider: Yahoo) -> None:
    found = quotes(provider, "AAPL", "NOSUCH", "BAREX", "PENCE.L", "EURUSD=X", "^GSPC")
    assert isinstance(found["NOSUCH"], SymbolUnknown)
    assert isinstance(found["BAREX"], NoData)
    assert found["PENCE.L"].currency == "GBp"  # type: ignore[union-attr]
    assert all(isinstance(found[symbol], Quote) for symbol in ("AAPL", "PENCE.L", "EURUSD=X", "^GSPC"))


def test_one_unknown_symbol_alone_is_an_answer(provider: Yahoo, gate: RecordingGate) -> None:
    assert isinstance(quotes(provider, "NOSUCH")["NOSUCH"], SymbolUnknown)
    assert (gate.passes, gate.holds) == (1, [])


def test_a_symbol_is_asked_for_once_whatever_currency_it_is_wanted_in(provider: Yahoo, vendor: Vendor) -> None:
    listings = [Listing("BTC-USD", "USD"), Listing("BTC-USD")]
    assert len(asyncio.run(provider.quotes(listings))) == 2
    assert vendor.requests[-1].query["symbols"] == "BTC-USD"


def test_an_answer_that_leaves_out_most_symbols_is_no_word_about_them(provider: Yahoo, vendor: Vendor) -> None:
    """Yahoo's bad day of March 2025: only the last of the symbols came back."""
    vendor.fault("leave_out", "quotes", kept=1)
    found = quotes(provider, "AAA", "BBB", "CCC", "DDD", "EEE")
    assert isinstance(found["EEE"], Quote)
    for symbol in ("AAA", "BBB", "CCC", "DDD"):
        error = found[symbol]
        assert isinstance(error, MalformedAnswer)
        assert error.retryable


def test_figures_of_another_symbol_are_nobodys(provider: Yahoo, vendor: Vendor) -> None:
    vendor.fault("stranger", "quotes")
    found = quotes(provider, "AAA", "BBB", "CCC")
    assert isinstance(found["AAA"], MalformedAnswer)
    assert "OTHER" in found["AAA"].message
    assert isinstance(found["BBB"], Quote)


@pytest.mark.parametrize("value", ["12.5", -1.0, 0, True])
def test_a_price_that_breaks_a_rule_is_for_the_check(provider: Yahoo, vendor: Vendor, value: Any) -> None:
    vendor.fault("wrong_price", "quotes", value=value)
    one = quotes(provider, "AAA")["AAA"]
    assert isinstance(one, Quote)
    assert broken_rule(one, NOW) is not None


# -- cookie and crumb -------------------------------------------------------------------------------------


def test_a_crumb_that_is_no_longer_taken_is_fetched_anew_once(
    provider: Yahoo, vendor: Vendor, gate: RecordingGate
) -> None:
    quotes(provider, "AAA")
    vendor.cookie, vendor.crumb = "d=other", "other.crumb"
    assert isinstance(quotes(provider, "AAA")["AAA"], Quote)
    assert paths(vendor)[3:] == ["/v7/finance/quote", "/", CRUMB, "/v7/finance/quote"]
    assert gate.spent == len(vendor.requests) == 7


def test_a_second_refusal_is_no_reason_for_a_third_crumb(provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
    vendor.fault("status", "quotes", code=401)
    with pytest.raises(Unauthorised):
        quotes(provider, "AAA")
    assert len(vendor.requests) == 6
    assert gate.holds == [], "of one symbol"
    with pytest.raises(Unauthorised) as caught:
        quotes(provider, "BBB", "CCC")
    assert len(gate.holds) == 1
    assert caught.value.retry_after_seconds == 30.0


@pytest.mark.parametrize("at", ["cookie", "crumb", "quotes"])
@pytest.mark.parametrize(
    ("kind", "args", "expected"),
    [
        ("status", {"code": 429}, RateLimited),
        ("status", {"code": 503}, ProviderUnavailable),
        ("reset", {}, ProviderUnavailable),
        ("html", {}, MalformedAnswer),
        ("consent", {}, Blocked),
        ("redirect", {}, Blocked),
        ("huge", {}, MalformedAnswer),
    ],
)
def test_what_keeps_a_quote_away_is_said_and_nothing_of_it_kept(
    provider: Yahoo,
    vendor: Vendor,
    gate: RecordingGate,
    at: str,
    kind: str,
    args: dict[str, Any],
    expected: type[ProviderError],
) -> None:
    vendor.fault(kind, at, times=None if kind == "reset" else 1, **args)  # curl itself sends again on a kept connection
    if at == "cookie" and kind in ("html", "consent", "redirect"):
        assert isinstance(quotes(provider, "AAA")["AAA"], Quote), "without a cookie, until one is asked for again"
        return
    with pytest.raises(ProviderError) as caught:
        quotes(provider, "AAA")
    assert type(caught.value) is expected
    assert "\n" not in caught.value.message
    assert "crumb=" not in caught.value.message
    assert len(gate.holds) == (kind == "status" and args["code"] == 429)
    vendor.clear()
    assert isinstance(quotes(provider, "AAA")["AAA"], Quote), "what came instead of a crumb is not kept"


def test_too_many_requests_as_a_crumb_is_no_crumb(provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
    vendor.fault("status", "crumb", code=200, body=b"Too Many Requests\r\n", times=1)
    with pytest.raises(RateLimited):
        quotes(provider, "AAA")
    assert len(gate.holds) == 1
    assert isinstance(quotes(provider, "AAA")["AAA"], Quote)


def test_without_budget_nothing_is_sent(provider: Yahoo, vendor: Vendor, gate: RecordingGate) -> None:
    gate.spend_raises = BudgetSpent("later", provider="any", retry_after_seconds=60)
    for question in (
        provider.quotes([Listing("AAA")]),
        provider.profile(Listing("AAA")),
        provider.news(NewsQuery("AAA")),
        provider.search("apple"),
    ):
        with pytest.raises(BudgetSpent):
            asyncio.run(question)
    assert not vendor.requests


def test_processes_share_cookie_and_crumb(vendor: Vendor, gate: RecordingGate, tmp_path: Path) -> None:
    """The second provider stands for another process: it has only the folder in common."""
    folder = tmp_path / "cache" / "yahoo"
    first, second = (Yahoo(replace(connection(gate, vendor.url), cache_folder=folder)) for _ in range(2))
    quotes(first, "AAA")
    assert isinstance(quotes(second, "AAA")["AAA"], Quote)
    assert paths(vendor) == ["/", CRUMB, "/v7/finance/quote", "/v7/finance/quote"]
    [kept] = folder.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    vendor.cookie, vendor.crumb = "d=other", "other.crumb"
    assert isinstance(quotes(first, "AAA")["AAA"], Quote)
    assert isinstance(quotes(second, "AAA")["AAA"], Quote)
    assert paths(vendor)[4:] == ["/v7/finance/quote", "/", CRUMB, *["/v7/finance/quote"] * 3], (
        "what one renewed serves all"
    )
    for provider in (first, second):
        provider.close()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"crumb": 5}', b"\xff", b'{"crumb":"x","base_url":"http://other","cookies":[]}']
)
def test_a_kept_crumb_that_is_nonsense_is_none(
    vendor: Vendor, gate: RecordingGate, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "crumb.json").write_bytes(content)
    provider = Yahoo(replace(connection(gate, vendor.url), cache_folder=tmp_path))
    assert isinstance(quotes(provider, "AAA")["AAA"], Quote)
    assert len(vendor.requests) == 3
    provider.close()


def test_the_chart_goes_on_without_cookie_and_crumb(provider: Yahoo, vendor: Vendor) -> None:
    quotes(provider, "AAA")
    ask(provider, BarQuery("AAA", Interval.DAY_1, Range(int(NOW) - 86_400 * 9, int(NOW))))
    chart = vendor.requests[-1]
    assert "crumb" not in chart.query
    assert "cookie" not in chart.headers


def test_many_threads_share_one_crumb(provider: Yahoo, vendor: Vendor) -> None:
    async def many() -> list[dict[Listing, Quote | ProviderError]]:
        return await asyncio.gather(*(provider.quotes([Listing(f"SYN{number}")]) for number in range(12)))

    assert all(isinstance(one, Quote) for found in asyncio.run(many()) for one in found.values())
    assert paths(vendor).count(CRUMB) == 1
    assert len(vendor.requests) == 14


# -- profiles ---------------------------------------------------------------------------------------------


def test_a_profile(provider: Yahoo, vendor: Vendor) -> None:
    found = asyncio.run(provider.profile(Listing("AAPL")))
    assert (found.sector, found.industry, found.country) == ("Technology", "Consumer Electronics", "United States")
    assert (found.website, found.employees) == ("https://www.example.com", 161_000)
    assert found.summary == "AAPL makes nothing. It is a test."
    assert (found.facts.name, found.facts.asset_class) == ("AAPL of the test vendor", AssetClass.EQUITY)
    assert (found.facts.currency, found.facts.timezone) == ("USD", "America/New_York")
    assert set(found.figures) <= set(FIGURES)
    assert found.figures["price_to_earnings"] == 21.5
    assert found.figures["dividend_yield"] == 0.0041
    assert found.figures["ex_dividend_date"] == "2025-02-10"
    assert found.figures["revenue"] == 395_760_009_216.0
    assert len(vendor.requests) == 3


def test_pence_are_not_divided_by_pounds(provider: Yahoo) -> None:
    found = asyncio.run(provider.profile(Listing("PENCE.L")))
    assert found.facts.currency == "GBp"
    assert "price_to_book" not in found.figures
    assert "revenue" not in found.figures, "its statements are in dollars"
    assert found.figures["high_52_weeks"] == 260.1


@pytest.mark.parametrize(("symbol", "expected"), [("NOSUCH", SymbolUnknown), ("BAREX", NoData)])
def test_no_profile(provider: Yahoo, gate: RecordingGate, symbol: str, expected: type[ProviderError]) -> None:
    with pytest.raises(expected) as caught:
        asyncio.run(provider.profile(Listing(symbol)))
    assert caught.value.symbol == symbol
    assert gate.passes == 1


@pytest.mark.parametrize(
    ("kind", "args", "expected"),
    [
        ("status", {"code": 403}, Blocked),
        ("status", {"code": 404}, ProviderUnavailable),
        ("status", {"code": 429, "retry_after": 9}, RateLimited),
        ("status", {"code": 500}, ProviderUnavailable),
        ("html", {}, MalformedAnswer),
        ("invalid_json", {}, MalformedAnswer),
        ("truncated", {}, ProviderUnavailable),
        ("empty_result", {}, MalformedAnswer),
    ],
)
@pytest.mark.parametrize("name", ["profile", "search"])
def test_bad_answers_about_a_symbol(
    provider: Yahoo, vendor: Vendor, name: str, kind: str, args: dict[str, Any], expected: type[ProviderError]
) -> None:
    vendor.fault(kind, name, **args)
    question = provider.profile(Listing("AAA")) if name == "profile" else provider.news(NewsQuery("AAA"))
    with pytest.raises(ProviderError) as caught:
        asyncio.run(question)
    assert type(caught.value) is expected
    assert "?" not in caught.value.message


# -- news and search --------------------------------------------------------------------------------------


def test_news_are_those_that_name_the_symbol(provider: Yahoo, vendor: Vendor) -> None:
    found = asyncio.run(provider.news(NewsQuery("AAPL")))
    assert len(found.stories) == 16, "four of twenty are about another symbol"
    first = found.stories[0]
    assert (first.guid, first.symbols) == ("AAPL-0", ("AAPL", "OTHER"))
    assert first.url == "https://news.example.com/AAPL/0.html"
    assert first.published_at == NOW
    assert first.source == "A Test Paper"
    assert paths(vendor) == ["/v1/finance/search"], "no cookie, no crumb"


def test_feeds_are_not_yahoos(provider: Yahoo) -> None:
    with pytest.raises(Unsupported, match="reads no feeds"):
        asyncio.run(provider.news(NewsQuery(feed="https://example.com/feed")))


def test_search_finds_what_is_quoted(provider: Yahoo, vendor: Vendor) -> None:
    found = asyncio.run(provider.search("aapl"))
    assert [(one.symbol, one.asset_class, one.rank) for one in found] == [
        ("AAPL", AssetClass.EQUITY, 1),
        ("AAPLU", AssetClass.ETF, 2),
    ]
    assert found[0].listing == Listing("AAPL")
    assert found[1].name == "Twice AAPL"
    assert asyncio.run(provider.search("nosuch thing")) == []
    assert paths(vendor) == ["/v1/finance/search"] * 2
