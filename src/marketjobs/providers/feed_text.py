"""A feed's bytes into stories, with feedparser: RSS 0.9 to 2.0, RDF, Atom, and what is nearly one of these.

feedparser (6.0, read 2026-11) reads whatever calls itself a feed, but takes as long for it as a stranger likes, and
decodes with any codec that a document names.  So its parsers are driven from here: the bytes are decoded by the codecs
of texts only, entities are not declared, entries are taken out while they come, and it ends when nothing but markup
follows.  feedparser's own cleaning of HTML is off: it keeps markup, and the stories are plain text.
"""

from __future__ import annotations

import calendar
import codecs
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from html.entities import html5
from typing import Any
from urllib.parse import urljoin
from xml.parsers import expat
from xml.sax import handler, make_parser

from marketjobs.domain.news import NewsAnswer, Story
from marketjobs.errors import MalformedAnswer
from marketjobs.providers.plain import plain_text, web_address

NAME = "rss"
MOST_ENTRIES = 10_000
MOST_LOOSE_BYTES = 1 << 19
"""Of a document that is no XML: its parser's work may grow with the square of it."""
PATIENCE_SECONDS, SECONDS_PER_ENTRY = 1.5, 0.005
"""CPU that a feed may take, with each entry found some more."""
CHUNK = 1 << 16
TITLE_CHARACTERS, SUMMARY_CHARACTERS, NAME_CHARACTERS = 300, 2000, 160
LATEST_SECONDS = 300
"""How far ahead of our clock a story's date may lie."""
_DECLARATION = re.compile(r"\s*<\?xml\b[^<>]{0,300}\?>")
_ENCODING = re.compile(rb"""<\?xml[^<>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE)
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NAMED = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)([A-Za-z][A-Za-z0-9]{1,30};)")
MOST_NAMES = 40
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x3c\x00\x3f\x00", "utf-16-le"),
    (b"\x00\x3c\x00\x3f", "utf-16-be"),
)
_NO_TEXTS = frozenset({"punycode", "idna", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
"""Codecs that a feed has no use for; some take the square of a text's length."""
_NOT_LIKE_UTF_8 = ("iso2022", "hz", "utf-16", "utf-32")
"""Codecs whose bytes may look like UTF-8 without being it."""


def parse_feed(body: bytes, content_type: str, base: str, host: str, symbol: str | None, now: float) -> NewsAnswer:
    """The stories of a feed in its order, each once, at most 10,000 of them.

    Args:
        base: what relative links are relative to.
        host: what errors name; the stories' source where the feed has no title.
        symbol: the asset that the feed was asked about.

    Raises:
        MalformedAnswer: it is no feed, or declares entities.
    """
    malformed = partial(_malformed, host=host, symbol=symbol)
    text = _decoded(body, content_type)
    if not text.strip():
        raise malformed("it is empty")
    declaration = _DECLARATION.match(text)
    text = text[declaration.end() :] if declaration else text  # it names an encoding that is no longer true
    document = _with_htmls_names(_NO_XML.sub(" ", text)).encode("utf-8", "replace")
    begins, ends, declares = _prolog(document)
    if declares:
        raise malformed("it declares entities, which no feed needs", is_final=True)
    document = document[:begins] + document[ends:]
    reader = _Reader(base, host, symbol, now)
    if not reader.strictly(document):
        reader = _Reader(base, host, symbol, now)
        reader.loosely(document)
    if not reader.is_feed:
        raise malformed("a web page" if b"<html" in document[:2000].lower() else "no RSS, no Atom")
    return NewsAnswer(reader.stories(), notes=tuple(reader.notes()))


def _malformed(what: str, *, host: str, symbol: str | None, is_final: bool = False) -> MalformedAnswer:
    text = f"the feed at {host} can't be read: {what}"
    return MalformedAnswer(text, provider=NAME, symbol=symbol, is_final=is_final)


def _decoded(body: bytes, content_type: str) -> str:
    """By its byte order mark, else UTF-8 where it is that, whatever is said about it, else by the word of the server,
    of the document, and what the web calls Latin 1; the first that fits."""
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body.decode(encoding, "replace").lstrip("\ufeff")
    served = _CHARSET.search(content_type)
    declared = _ENCODING.search(body[:1024].lstrip())
    named = [_codec(served[1]) if served else None, _codec(declared[1].decode()) if declared else None]
    if named[0] == "cp1252":
        named.reverse()  # often a server's default only
    if not any(codec and codec.startswith(_NOT_LIKE_UTF_8) for codec in named):
        named.insert(0, "utf-8")
    for codec in (*named, "cp1252"):
        with suppress(UnicodeError, ValueError):
            if codec is not None:
                return body.decode(codec)
    return body.decode("utf-8", "replace")


def _codec(name: str) -> str | None:
    """The codec of texts that a name means; ``None``: none."""
    try:
        found = codecs.lookup(name)
        b"".decode(name)
    except (LookupError, ValueError):  # no codec, or one of no texts
        return None
    if found.name.replace("_", "-") in _NO_TEXTS:
        return None
    return {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030"}.get(found.name, found.name)


def _with_htmls_names(text: str) -> str:
    """With the characters that HTML has names for and XML has none (``&nbsp;``): the commonest reason why a feed is
    no XML."""
    names = set(_NAMED.findall(text))
    for name in names if len(names) <= MOST_NAMES else ():
        character = html5.get(name, "")
        if character and not set(character) & set("<>&\"'"):
            text = text.replace(f"&{name}", character)
    return text


class _Seen(Exception):
    """The prolog is over."""


def _prolog(document: bytes) -> tuple[int, int, bool]:
    """Where the document type stands (nowhere: both 0), and whether it declares entities.

    Read by the grammar that the strict parser goes by, up to the first element: nothing is expanded here.
    """
    parser = expat.ParserCreate("utf-8")
    found = {"begins": 0, "ends": 0, "declares": 0}

    def begin(*_: Any) -> None:
        found["begins"] = parser.CurrentByteIndex

    def end(*_: Any) -> None:
        found["ends"] = document.find(b">", parser.CurrentByteIndex) + 1

    def declared(*_: Any) -> None:
        found["declares"] = 1
        raise _Seen

    def element(*_: Any) -> None:
        raise _Seen

    parser.StartDoctypeDeclHandler, parser.EndDoctypeDeclHandler = begin, end
    parser.EntityDeclHandler, parser.StartElementHandler = declared, element
    start = len(document) - len(document.lstrip())
    with suppress(_Seen, expat.ExpatError):
        parser.Parse(document[start:], True)
    if not found["ends"]:
        return 0, 0, bool(found["declares"])
    return found["begins"] + start, found["ends"] + start, bool(found["declares"])


class _Reader:
    """The stories of one document, taken from feedparser while it reads."""

    def __init__(self, base: str, host: str, symbol: str | None, now: float) -> None:
        self._base, self._host, self._symbol, self._now = base, host, symbol, now
        self._stories: dict[object, Story] = {}
        self._source: str | None = None
        self._entries = self._twice = self._untold = 0
        self._cut = ""
        self._began = time.thread_time()
        self.is_feed = False

    def strictly(self, document: bytes) -> bool:
        """``False``: it is no XML."""
        from feedparser.api import StrictFeedParser

        parser: Any = StrictFeedParser("", None, "utf-8")
        parser.resolve_relative_uris = parser.sanitize_html = False
        sax: Any = make_parser()  # noqa: S317  no entity is declared by now
        sax.setFeature(handler.feature_namespaces, True)
        sax.setFeature(handler.feature_external_ges, False)
        sax.setContentHandler(parser)
        sax.setErrorHandler(parser)
        begins = len(document) - len(document.lstrip())
        if document[begins : begins + 1] != b"<":
            return False
        try:
            for at in range(begins, len(document), CHUNK):
                sax.feed(document[at : at + CHUNK])
                self._take(parser, keep=1)
                if self._is_over():
                    break
            else:
                sax.close()
        except Exception:  # no XML, or nonsense that feedparser stumbles over in ways of its own
            return False
        self._end(parser)
        return True

    def loosely(self, document: bytes) -> None:
        from feedparser.api import LooseFeedParser

        self._cut = "it is no XML: what could be read of it was taken"
        if len(document) > MOST_LOOSE_BYTES:
            self._cut += f", of its first {MOST_LOOSE_BYTES >> 10} KiB"
            document = document[:MOST_LOOSE_BYTES]
        parser: Any = LooseFeedParser("", None, "utf-8", {})
        parser.resolve_relative_uris = parser.sanitize_html = False
        try:
            parser.feed(document.decode("utf-8", "replace"))
        except Exception:  # as above; what came before it counts
            self._cut += ", up to where it is nonsense"
        self._end(parser)

    def _take(self, parser: Any, keep: int) -> None:
        """Entries that are whole out of feedparser's hands, so that they are kept once."""
        done = parser.entries[: len(parser.entries) - keep]
        if not done:
            return
        del parser.entries[: len(done)]
        for entry in done:
            parser.property_depth_map.pop(entry, None)
            if self._entries >= MOST_ENTRIES:
                self._cut = f"it has more than {MOST_ENTRIES} entries: the rest was left out"
                return
            self._entries += 1
            self._keep(entry)

    def _is_over(self) -> bool:
        if not self._cut and time.thread_time() - self._began > PATIENCE_SECONDS + self._entries * SECONDS_PER_ENTRY:
            self._cut = f"nothing but markup after {self._entries} entries: the rest was left out"
        return bool(self._cut)

    def _end(self, parser: Any) -> None:
        self._take(parser, keep=0)
        title = _text(parser.feeddata, "title", NAME_CHARACTERS)
        self._source = title or None
        self.is_feed = bool(parser.version or self._entries)

    def _keep(self, entry: Any) -> None:
        summary = _text(entry, "summary", SUMMARY_CHARACTERS) or _content(entry)
        title = _text(entry, "title", TITLE_CHARACTERS) or summary[:TITLE_CHARACTERS]
        if not title:
            self._untold += 1
            return
        url = self._link(dict.get(entry, "link"))
        guid = _text(entry, "id", NAME_CHARACTERS * 2) or None
        published_at = self._date(entry)
        key = guid or (url or published_at, title)
        if key in self._stories:
            self._twice += 1
            return
        self._stories[key] = Story(
            title=title,
            url=url,
            guid=guid,
            summary=summary or None,
            published_at=published_at,
            symbols=(self._symbol,) if self._symbol else (),
        )

    def _link(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return None
        known = web_address(value)
        if known is not None:
            return known
        try:
            return web_address(urljoin(self._base, value.strip()))
        except ValueError:
            return None

    def _date(self, entry: Any) -> float | None:
        """When it was published, else changed; ``None``: no date that can be read, or one that can't be true."""
        for name in ("published_parsed", "updated_parsed", "created_parsed"):
            moment = dict.get(entry, name)
            if moment is None:
                continue
            try:
                at = float(calendar.timegm(moment))
            except (ValueError, TypeError, OverflowError):
                continue
            if 0 < at <= self._now + LATEST_SECONDS:
                return at
        return None

    def stories(self) -> list[Story]:
        source = self._source or self._host
        return [replace(story, source=source) for story in self._stories.values()]

    def notes(self) -> Iterator[str]:
        if self._cut:
            yield self._cut
        if self._twice:
            yield f"{self._twice} came twice"
        if self._untold:
            yield f"{self._untold} without a title"


def _text(found: Any, name: str, most: int) -> str:
    """Asked of the plain dict: feedparser's own looks elsewhere too, and warns."""
    value = dict.get(found, name)
    return plain_text(value, most) if isinstance(value, str) else ""


def _content(entry: Any) -> str:
    """Of an entry without a summary."""
    parts = dict.get(entry, "content")
    first = parts[0] if isinstance(parts, list) and parts else None
    return _text(first, "value", SUMMARY_CHARACTERS) if isinstance(first, dict) else ""
