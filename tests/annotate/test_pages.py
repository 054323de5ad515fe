"""The tool in a real browser: the whole way from a new project to an evaluated collection, by mouse and by keys.

``STM_AGENT_SCREENSHOTS=docs/images`` writes the pictures of the documentation.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from stm_agent.annotate.api.app import build_app
from stm_agent.annotate.pages.mount import mount_pages, open_url
from stm_agent.annotate.tool import open_tool
from stm_agent.domain.collection import read_beir
from stm_agent.evaluate.models import evaluate_model
from stm_agent.testing.scripted import scripted

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SHOTS = os.environ.get("STM_AGENT_SCREENSHOTS")
DOCUMENTS = [
    {"id": "fever", "title": "Fever", "text": "Fever is a raised body temperature. It is often a sign of infection."},
    {"id": "cough", "title": "Cough", "text": "A cough is a sudden expulsion of air from the lungs."},
    {"id": "rash", "title": "Rash", "text": "A rash is a change of the skin. A fever may come with it."},
    {"id": "script", "title": "Odd", "text": "<script>window.broken = true</script><b>not bold</b>"},
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A tool for one person on loopback, an LLM by script, and its address."""
    place = tmp_path_factory.mktemp("space")
    tool = open_tool(place)
    answers = scripted(lambda messages: "Fever is a raised temperature [fever].", place, usd=0.01)
    grades = scripted(lambda messages: "3" if "raised" in messages[1]["content"] else "0", place / "grades")
    tool.doors.door = lambda choice: grades if choice.name == "judge" else answers
    app = build_app(tool)
    mount_pages(app)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield tool, open_url(tool, "127.0.0.1", port)
    server.should_exit = True
    thread.join(10)
    tool.close()


@pytest.fixture(scope="module")
def page(served) -> Iterator:
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme="light").new_page()
        opened.set_default_timeout(15_000)
        opened.errors = []
        opened.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.goto(served[1])
        yield opened
        browser.close()


def look(page, name: str, dark: bool = False) -> None:
    """No serious violation, light and dark; a picture where they are asked for."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(150)
    themes = (
        ("dark", "light") if page.evaluate("document.documentElement.dataset.theme") == "light" else ("light", "dark")
    )
    for theme in themes:
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        found = Axe().run(page).response["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"][:160], one["nodes"][0].get("failureSummary", "")[:200])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], f"{name}, {theme}"
    if SHOTS:
        page.evaluate(f"document.documentElement.dataset.theme = '{'dark' if dark else 'light'}'")
        page.screenshot(path=str(Path(SHOTS) / f"annotate-{name}.png"))
        page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.errors == []


def select(page, words: str, start: int, end: int) -> None:
    """Select characters of the text that holds some words, as a mouse does."""
    page.evaluate(
        """([words, start, end]) => {
          const root = [...document.querySelectorAll('.text')].find((one) => one.textContent.includes(words));
          const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
          let at = 0; const range = document.createRange();
          for (let node = walk.nextNode(); node; node = walk.nextNode()) {
            if (node.parentElement.closest('.name')) continue;
            if (start >= at && start <= at + node.length) range.setStart(node, start - at);
            if (end >= at && end <= at + node.length) { range.setEnd(node, end - at); break; }
            at += node.length;
          }
          root.focus(); getSelection().removeAllRanges(); getSelection().addRange(range);
        }""",
        [words, start, end],
    )


def test_from_a_new_project_to_an_evaluated_collection(served, page, tmp_path):
    tool, _ = served
    assert "token" not in page.url, "the token is out of the address bar"
    look(page, "projects-empty")
    page.keyboard.press("n")
    page.get_by_label("Name").fill("Signs")
    page.get_by_label("Question answering").check()
    look(page, "wizard")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("heading", name="0 documents").wait_for()

    (tmp_path / "documents.json").write_text(json.dumps([*DOCUMENTS, {"title": "nameless"}]))
    page.keyboard.press("i")
    page.set_input_files("input[type=file]", tmp_path / "documents.json")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("4 documents went in.").wait_for()
    assert page.get_by_text("1 skipped: has no id").count() == 1
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="4 documents").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("fever -skin")
    page.locator("mark.hit").first.wait_for()
    assert page.locator("tbody tr").count() == 1
    look(page, "documents")

    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("g")
    page.get_by_role("link", name="People and LLMs").click()
    page.get_by_label("Name", exact=True).fill("writer")
    page.get_by_label("Model, as LiteLLM names it").fill("scripted:numbered")
    page.get_by_label("Key (stored encrypted, never shown)").fill("sk-secret")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("writer (default)").wait_for()
    assert "sk-secret" not in page.content()
    look(page, "people")
    page.get_by_role("link", name="stm-agent annotate").click()
    page.get_by_role("link", name="Signs").click()
    page.get_by_role("link", name="Annotate", exact=True).click()
    _annotate(page)
    _judge(tool, page)
    with page.expect_download() as download:
        page.keyboard.press("Alt+1")
        page.get_by_role("button", name="Export").wait_for()
        page.keyboard.press("e")
        page.get_by_role("link", name="BEIR folder").click()
    zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).extractall(tmp_path / "beir")
    assert evaluate_model("bm25", read_beir(tmp_path / "beir"), "dev")["ndcg_at_10"] > 0.5


def _annotate(page) -> None:
    page.get_by_role("button", name="fever Fever").click()
    page.get_by_role("heading", name="fever", exact=True).wait_for()
    page.get_by_role("button", name="New n").click()
    page.locator("#block-question").fill("What is a fever?")
    # By mouse, then by keys alone, one over the other.
    select(page, "raised body", 9, 34)
    page.keyboard.press("1")
    page.locator(".evidence").first.wait_for()
    page.locator(".text", has_text="raised body").focus()
    page.evaluate("getSelection().collapse(document.activeElement, 0)")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("0")
    page.locator(".evidence.many").first.wait_for()
    assert page.get_by_role("heading", name="Evidence (2)").count() == 1
    page.get_by_role("button", name="Draft").click()
    page.get_by_role("button", name="Accept").wait_for()
    look(page, "workspace")
    page.keyboard.press("Control+Enter")
    assert page.locator("#block-answer").input_value() == "Fever is a raised temperature [fever]."
    page.get_by_role("status").filter(has_text="saved").first.wait_for()
    # Closed at once and opened again: everything is there.
    page.reload()
    page.get_by_role("heading", name="Evidence (2)").wait_for()
    assert page.locator("#block-question").input_value() == "What is a fever?"
    page.get_by_role("button", name="Delete this evidence").first.click()
    page.get_by_role("heading", name="Evidence (1)").wait_for()
    page.get_by_role("status").filter(has_text="saved").first.wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Control+z")
    page.get_by_role("heading", name="Evidence (2)").wait_for()
    # What a document holds is shown, never run.
    page.get_by_role("button", name="script Odd").click()
    page.get_by_text("<script>window.broken = true</script>").first.wait_for()
    assert page.evaluate("window.broken") is None
    page.get_by_role("button", name="Finish f").click()
    page.get_by_text("its query is ready").wait_for()


def _judge(tool, page) -> None:
    page.keyboard.press("Alt+3")
    page.get_by_role("button", name="Runs and pools").click()
    page.get_by_role("button", name="Rank", exact=True).click()
    page.locator("dialog td", has_text="bm25").first.wait_for()
    look(page, "runs")
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="What is a fever?").wait_for()
    page.locator(".passage").first.wait_for()
    count = page.locator(".passage").count()
    assert count == 2
    assert page.get_by_text("unjudged").count() == count - 1, "the evidence was a judgement"
    look(page, "judge", dark=True)
    page.locator(".passage", has_text="rash").click()
    page.keyboard.press("0")
    expect(page.get_by_text("unjudged")).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(page.get_by_text("unjudged")).to_have_count(1)
    page.keyboard.press("0")
    expect(page.get_by_text("unjudged")).to_have_count(0)
    page.keyboard.press("f")
    page.get_by_text("All queries are done").wait_for()
    page.keyboard.press("Alt+4")
    page.get_by_text("Nothing waits for an answer.").wait_for()
    look(page, "negatives")
    page.keyboard.press("Alt+5")
    page.get_by_role("heading", name="Agreement").wait_for()
    page.get_by_text("Krippendorff's alpha").first.wait_for()
    look(page, "agreement")
    page.keyboard.press("Alt+6")
    page.get_by_role("heading", name="Blocks").wait_for()
    look(page, "settings")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    look(page, "keys")
    page.keyboard.press("Escape")


def test_two_windows_of_one_entry_lose_nothing(served, page):
    page.goto(page.url.split("#")[0])
    page.get_by_role("link", name="Signs").click()
    page.get_by_role("link", name="Annotate", exact=True).click()
    page.get_by_role("button", name="New n").click()
    page.locator("#block-question").fill("first")
    page.get_by_role("status").filter(has_text="saved").first.wait_for()
    other = page.context.new_page()
    other.set_default_timeout(15_000)
    other.goto(page.url)
    other.locator("#block-question").wait_for()
    expect(other.locator("#block-question")).to_have_value("first")
    other.locator("#block-question").fill("from the other window")
    other.get_by_role("status").filter(has_text="saved").first.wait_for()
    other.wait_for_timeout(1200)
    other.close()
    page.locator("#block-question").fill("from here")
    page.get_by_role("heading", name="Changed somewhere else").wait_for()
    assert page.locator("dialog td", has_text="from the other window").count() == 1
    look(page, "conflict")
    page.get_by_role("button", name="Keep mine").click()
    page.get_by_role("status").filter(has_text="saved").first.wait_for()
    page.wait_for_timeout(1000)
    page.reload()
    expect(page.locator("#block-question")).to_have_value("from here")


def test_a_wrong_token_opens_nothing(served, page):
    base = served[1].split("?")[0]
    fresh = page.context.browser.new_context()
    other = fresh.new_page()
    assert other.goto(f"{base}?token=wrong").status == 401
    other.goto(base)
    other.get_by_role("button", name="Log in").wait_for()
    look_at = other.evaluate("fetch('/api/v1/projects').then((answer) => answer.status)")
    assert look_at == 401
    fresh.close()


def test_the_page_loads_nothing_from_elsewhere(served, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.wait_for_timeout(500)
    base = served[1].split("?")[0]
    assert asked
    assert [one for one in asked if not one.startswith((base, "data:"))] == []
