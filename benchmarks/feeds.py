"""Feeds: 10,000 entries parsed, cleaned and deduplicated, beside feedparser that only parses; and the memory it takes.

    python benchmarks/feeds.py [--entries 10000] [--rounds 3] [--json]

Each entry has a title with an entity, a link, a guid, a date and some HTML in its description; every hundredth comes
twice.  feedparser runs as it is by default, with its own cleaning of HTML.  Memory is the peak of a process of its own.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from functools import partial

from harness import TESTS, Table, Wanted, options, print_tables, rounds

sys.path.insert(0, str(TESTS))

from feed_vendor import NEWEST, item, rss

OURS, PEER = "marketjobs: stories, each once", "feedparser alone"
READINGS = 10
CHILD = """
import sys
sys.path[:0] = {path!r}
import feeds, feedparser, marketjobs.providers.feed_text
body = feeds.body_of({entries})
for _ in range({readings}):
    feeds.{what}(body)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def body_of(entries: int) -> bytes:
    numbers = [number for number in range(entries) for _ in range(1 + (number % 100 == 99))][:entries]
    return rss(item(number, title=f"Shares & bonds: story {number}") for number in numbers)


def ours(body: bytes) -> int:
    from marketjobs.providers.feed_text import parse_feed

    found = parse_feed(body, "application/rss+xml", "https://x.example/", "x.example", None, NEWEST.timestamp())
    return len(found.stories)


def peer(body: bytes) -> int:
    import feedparser

    return len(feedparser.parse(io.BytesIO(body)).entries)


def rate(read: object, body: bytes, entries: int) -> float:
    """Entries a second of CPU."""
    assert callable(read)
    began = time.process_time()
    count = read(body)
    assert entries * 0.98 <= count <= entries, count
    return entries / (time.process_time() - began)


def peak(what: str, entries: int, readings: int) -> float:
    """Megabytes, by /proc: of getrusage a process inherits the peak of its parent."""
    code = CHILD.format(
        path=[str(TESTS), str(TESTS.parent / "benchmarks")], what=what, entries=entries, readings=readings
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    args = options(__doc__, entries=10_000, rounds=3)
    body = body_of(args.entries)
    ours(body_of(100)), peer(body_of(100))  # what is imported at the first is not what is timed
    speed = Table(
        f"{args.entries} entries of a feed",
        "entries/s of CPU",
        rounds(
            {PEER: partial(rate, peer, body, args.entries), OURS: partial(rate, ours, body, args.entries)}, args.rounds
        ),
        peer=PEER,
        wanted={OURS: 0.8},
    )
    once, often = f"{OURS}, read once", f"{OURS}, read {READINGS} times"
    contestants = {
        PEER: partial(peak, "peer", args.entries, 1),
        once: partial(peak, "ours", args.entries, 1),
        often: partial(peak, "ours", args.entries, READINGS),
    }
    measured = rounds(contestants, args.rounds)
    memory = Table(f"Peak memory of reading {args.entries} entries", "MB", measured, peer=PEER, more_is_better=False)
    flat = Table(
        "Memory of one reading after another",
        "MB",
        {once: measured[once], often: measured[often]},
        peer=once,
        more_is_better=False,
        wanted={often: Wanted(at_least=0.9)},
    )
    print_tables([speed, memory, flat], as_json=args.json)


if __name__ == "__main__":
    main()
