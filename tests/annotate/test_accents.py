"""Accents are found however a text or a keyboard writes them: as one character (NFC), or behind their letter (NFD)."""

from __future__ import annotations

import unicodedata

import pytest
from playwright.sync_api import expect

from stm_agent.annotate.spelling import snippet
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.annotate import client, fill, own_project
from stm_agent.testing.browser import CHROMIUM, showing

TEXTS = {"summer": "Un été très chaud à Pâques.", "winter": "L'hiver était froid.", "korean": "한국어 문장"}


def nfd(text):
    return unicodedata.normalize("NFD", text)


@pytest.fixture
def ada(tool):
    """Ada, in a project whose documents are written in NFD."""
    fill(tool)
    made = client(tool, "Ada")
    rows = [[key, {"text": nfd(text), "title": nfd(text[:6])}] for key, text in TEXTS.items()]
    assert made.post("/projects/signs/documents", json={"documents": rows}).json()["added"] == 3
    return made


@pytest.mark.parametrize(
    "typed", ["été", nfd("été"), "ÉTÉ", '"été très"', "pâques", "été -hiver", "text:été", ["l", "été Pâques"][1]]
)
def test_a_search_finds_accents_in_either_form(ada, typed):
    found = ada.get("/projects/signs/search", params={"q": typed}).json()
    assert [row["key"] for row in found][:1] == ["summer"], typed


@pytest.mark.parametrize("filter", ["text~été", f"text~{nfd('été')}", f"text={TEXTS['summer']}", "title~été"])
def test_a_filter_finds_accents_in_either_form(ada, filter):
    page = ada.get("/projects/signs/documents", params={"filter": filter}).json()
    assert [row["key"] for row in page["documents"]] == ["summer"]


def test_a_filter_leaves_out_accents_in_either_form(ada):
    page = ada.get("/projects/signs/documents", params={"filter": f"text!={TEXTS['summer']}"}).json()
    assert "summer" not in [row["key"] for row in page["documents"]]


@pytest.mark.parametrize("form", [str, nfd])
@pytest.mark.parametrize(("typed", "marked"), [("été", "été"), ("pâque", "Pâques"), ("très", "très")])
def test_a_snippet_marks_whole_words_in_either_form(form, typed, marked):
    text = form(TEXTS["summer"])
    shown = snippet(text, typed)
    assert [shown["text"][start:end] for start, end in shown["hits"]] == [form(marked)]


def test_a_word_without_accents_marks_no_part_of_one_with_them():
    assert snippet(nfd("le café"), "caf")["text"]
    assert snippet(nfd("un été"), "ete")["hits"] == []


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_search_in_an_open_document_finds_accents_in_either_form(tmp_path, browser):
    tool = open_tool(tmp_path)
    with own_project(tool, [("summer", {"text": nfd(TEXTS["summer"])})]):
        pass
    with showing(tool, browser, "signs", "work", "summer") as page:
        page.get_by_label("Search in this document").fill("été")
        expect(page.get_by_text("1 of 1", exact=True)).to_be_visible()
    tool.close()
