"""The plain text of a file that people read: text, Markdown, HTML or PDF."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_DROPPED = ("head", "script", "style", "noscript", "template", "svg", "nav", "footer", "aside", "form", "button")
"""Elements of a page that are no part of its text."""
_CELLS = ("td", "th", "br")
_BLOCKS = (
    *("address", "article", "blockquote", "caption", "dd", "details", "div", "dl", "dt", "figcaption", "figure"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "summary"),
    *("table", "tr", "ul"),
)
_BOUNDARY = "\x1e"
"""Marks the ends of blocks while a page is read; no text has this control character."""
_FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n(?:---|\.\.\.)\s*\n", re.DOTALL)
_PAGE_NUMBER = re.compile(r"(?:page\s*)?\d{1,4}(?:\s*(?:/|of)\s*\d{1,4})?", re.IGNORECASE)
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad]\n(?=[^\W\d_])")
_FEWEST_PAGES = 4
"""Pages from which a line that stands on most of them is a running head."""


class UnusableFileError(Exception):
    """A file that gives no text.

    Attributes:
        reason: What is wrong, to be counted by: "is encrypted".
        fix: What to do.
    """

    def __init__(self, reason: str, fix: str) -> None:
        """Take the reason and the fix."""
        super().__init__(f"{reason}; {fix}")
        self.reason, self.fix = reason, fix


def read_text_file(path: Path) -> tuple[str, str]:
    """Return title and text of a file; the title may be empty.

    Blocks such as paragraphs, headings and items of a list are lines of the text.

    Raises:
        UnusableFileError: The file is encrypted, damaged or not UTF-8, or has no text.
        OSError: The file cannot be read.
    """
    title, text = READERS[path.suffix.lower()](path)
    if not text.strip():
        reason, fix = "has no text", "leave it out"
        if path.suffix.lower() == ".pdf":
            fix = "if its pages are scans, let a program for optical character recognition read them first"
        raise UnusableFileError(reason, fix)
    return title, text


def _plain(path: Path) -> tuple[str, str]:
    paragraphs = re.split(r"\n\s*\n", _decoded(path))
    # Line ends inside a paragraph are where the editor's window ended.
    return "", "\n".join(_one_line(paragraph) for paragraph in paragraphs if paragraph.strip())


def _markdown(path: Path) -> tuple[str, str]:
    from markdown_it import MarkdownIt

    source = _FRONT_MATTER.sub("", _decoded(path))
    return _page(MarkdownIt("commonmark").enable("table").render(source))


def _html(path: Path) -> tuple[str, str]:
    # The bytes: the page itself may say how it is encoded.
    return _page(path.read_bytes())


def _page(markup: str | bytes) -> tuple[str, str]:
    from bs4 import BeautifulSoup

    with warnings.catch_warnings():
        # XHTML is read as HTML, and a text that looks like a file's name is a text.
        warnings.simplefilter("ignore")
        soup = BeautifulSoup(markup, "html.parser")
    title = _title(soup)
    for element in soup.find_all(_DROPPED):
        element.decompose()
    for element in soup.find_all(_CELLS):
        element.append(" ")
    for element in soup.find_all(_BLOCKS):
        element.insert_before(_BOUNDARY)
        element.append(_BOUNDARY)
    blocks = map(_one_line, soup.get_text().split(_BOUNDARY))
    return title, "\n".join(block for block in blocks if block)


def _title(soup: BeautifulSoup) -> str:
    """Return the first heading of a page, else its title."""
    for name in ("h1", "title"):
        element = soup.find(name)
        if element is not None and (text := _one_line(element.get_text(" "))):
            return text
    return ""


def _pdf(path: Path) -> tuple[str, str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError, WrongPasswordError

    encrypted = UnusableFileError("is encrypted", "remove its password")
    try:
        reader = PdfReader(path)
        # Many files that anybody may open are encrypted with an empty password.
        if reader.is_encrypted and not reader.decrypt(""):
            raise encrypted
        pages = [page.extract_text() for page in reader.pages]
    except (FileNotDecryptedError, WrongPasswordError, DependencyError) as error:
        raise encrypted from error
    except UnusableFileError:
        raise
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        # pypdf raises plain errors, too, for files whose parts contradict each other.
        raise UnusableFileError("is not a PDF that can be read", "write it again as PDF, or leave it out") from error
    return "", "\n".join(filter(None, (_one_line(_joined(page)) for page in _without_running_heads(pages))))


def _without_running_heads(pages: Sequence[str]) -> list[str]:
    """Remove page numbers, and lines that stand on more than half of the pages."""
    counts = Counter(line for page in pages for line in {line.strip() for line in page.splitlines()})
    most = len(pages) / 2 if len(pages) >= _FEWEST_PAGES else len(pages)
    return [
        "\n".join(
            line
            for line in page.splitlines()
            if counts[line.strip()] <= most and not _PAGE_NUMBER.fullmatch(line.strip())
        )
        for page in pages
    ]


def _joined(page: str) -> str:
    """Put words together that a line end divides."""
    return _HYPHENATED.sub("", page)


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UnusableFileError("is not UTF-8", "convert it, for example with iconv") from error


def _one_line(text: str) -> str:
    # Null and its like mean nothing in a text, and some databases refuse them.
    return " ".join("".join(character if character >= " " else " " for character in text).split())


READERS: Mapping[str, Callable[[Path], tuple[str, str]]] = {
    ".txt": _plain,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
"""Ending of a file's name, in lower case -> what reads it."""
