"""Names of domains made from names that people gave their folders."""

from __future__ import annotations

import re
import unicodedata

from stm_agent.files import sha256_text

LONGEST = 48
"""Characters of a name made from a folder's; a run's folder is named after the domain and adds to it."""
HASHED = 8
"""Hex digits of the hash that keeps apart two folders whose names become the same one."""


def domain_name(folder_name: str) -> str:
    """Return a name that a domain file and a run's folder can have.

    A name that is valid already stays as it is. Otherwise accents are dropped, everything that is not an ASCII letter,
    digit, dot, underscore or hyphen becomes a hyphen, and a hash of the original name is appended, so that two folders
    whose names differ only in what was lost do not share one name.

    Example:
        >>> domain_name("My Data (v2)")
        'My-Data-v2-6ed9b4da'
    """
    # The same name in composed and in decomposed Unicode must give the same hash.
    composed = unicodedata.normalize("NFC", folder_name)
    ascii_only = unicodedata.normalize("NFKD", composed).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", ascii_only).strip("._-")
    if slug == folder_name and len(slug) <= LONGEST:
        return slug
    # Bytes of a file name that are not UTF-8 are lone surrogates in Python.
    digest = sha256_text(composed.encode("utf-8", "surrogateescape").hex())
    beginning = slug[: LONGEST - HASHED - 1].rstrip("._-") or "collection"
    return f"{beginning}-{digest[:HASHED]}"
