"""What each recorded feed has to become: one line a file, written by hand from the file itself.

The recordings lie outside the project, in the folder that MARKETJOBS_RECORDED names.  ``FEEDS`` are read, ``REFUSED``
are not; a file in neither fails a test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(os.environ.get("MARKETJOBS_RECORDED") or "") / "news"


class Feed(NamedTuple):
    """How many stories it has, with how many dates, and the beginning of the first title."""

    stories: int
    dated: int = 0
    title: str = ""


FEEDS = {
    "atom_edgar_getcurrent_start0.xml": Feed(50, 50, "4 - Hinge Health, Inc. (0001673743) (Issuer)"),
    "fj_HuffPostCanada.xml": Feed(2, 2, "Winnipeg High School Orders Custom Hijabs"),
    "fj_InvalidDateFormat.xml": Feed(2, 2, "Item 0 with an invalid date"),
    "fj_a10.xml": Feed(5, 5, "Title 5"),
    "fp_aaa_illformed.xml": Feed(0),
    "fp_bozo_bogus_encoding.xml": Feed(0),
    "fp_demoronize-1.xml": Feed(1, 0, "don’t"),
    "fp_double-encoded-html.xml": Feed(1, 0, "…"),
    "fp_rss_incomplete_cdata.xml": Feed(0),
    "fp_undeclared_namespace.xml": Feed(0),
    "fr_rss_2.0_bbc.xml": Feed(1, 1, "Marcus Aurelius"),
    "fr_rss_2.0_nbcny.xml": Feed(1, 1, "NYC cops search for stabbing suspect"),
    "fr_rss_2.0_relurl_1.xml": Feed(2, 2, "Pareto-optimal compression"),
    "mf_enc_invalid-prolog.xml": Feed(1, 0, "Café"),
    "mf_enc_utf8-incorrect-prolog.xml": Feed(1, 0, "Café"),
    "mf_encoding_WINDOWS-1251.xml": Feed(50, 50, "Цитата #17703"),
    "mf_rdf_UTF8.xml": Feed(60, 0, "OLED-TVs: Vorsichtsmaßnahmen gegen Einbrennen"),
    "mf_small_atom.xml": Feed(20, 20, "Parse podcast categories"),
    "nf_guid-dupes.xml": Feed(1, 1, "Huh?"),
    "nf_rss-with-relative-urls.xml": Feed(2, 2, "Neverwinter & Jingle Jam Humble Bundle!"),
    "rp_craigslist.rss": Feed(25, 25, "Bright, Spacious Beautiful Victorian"),
    "rp_guardian.rss": Feed(55, 55, "Trump State of the Union address promised unity"),
    "rp_heraldsun.rss": Feed(2, 0, "The First Item"),
    "rp_missing-fields.atom": Feed(0),
    "rss_bloomberg_markets_20241217.xml": Feed(30, 30, "Asian Stocks Fluctuate Before Key Rate Decisions"),
    "rss_invalid_character.xml": Feed(10, 10, "Lahden seudun jätetaksa 16.9.2024 alkaen"),
    "rss_invalid_escape_strings.xml": Feed(10, 10, "Lahden seudun jätetaksan maksujen tarkistus"),
    "rss_realworld_standard.xml": Feed(38, 38, "In a major boost to Democrats"),
    "rss_reuters_businessnews_20190119.xml": Feed(4, 4, "Supermarket retailer Casino to sell six stores"),
    "rss_sort_mixed_dates.xml": Feed(10, 10, "Hyundai Ioniq 5 N review: fake shifting, real fun"),
    "rss_yahoo_news_20231203.xml": Feed(2, 2, "Homebuyer conundrum: If mortgage rates fall"),
    "sanitize/acceptable_element_noscript.xml": Feed(0),
    "sanitize/entry_summary_script_base64.xml": Feed(1, 0, "safe description"),
    "sanitize/feed_copyright_onmouseover.xml": Feed(0),
    "sanitize/feed_subtitle_onmouseover.xml": Feed(0),
    "sanitize/feed_title_onclick.xml": Feed(0),
    "sanitize/item_content_encoded_onmouseover.xml": Feed(0),
    "sanitize/item_description_onabort.xml": Feed(0),
    "sanitize/item_description_onmouseup.xml": Feed(0),
}
REFUSED = {
    "attack_cyclic.xml": "declares entities",
    "attack_external.xml": "declares entities",
    "attack_xmlbomb.xml": "declares entities",
    "fp_rss_empty_document.xml": "no RSS, no Atom",
    "nf_compressed.xml": "no RSS, no Atom",
    "nf_notafeed.html": "a web page",
}
