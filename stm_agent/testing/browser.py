"""The annotation tool in a real browser: serve it, open pages, take pictures, select text with the mouse."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stm_agent.annotate.tool import Tool
from stm_agent.testing.annotate import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    # A name of this machine that browsers do not trust as they do loopback's.
    "--host-resolver-rules=MAP team.example 127.0.0.1",
)
SHOTS = os.environ.get("STM_AGENT_SCREENSHOTS")
"""Folder for pictures of the screens; none are made without it."""
_POINT = """
([root, words, atEnd]) => {
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  for (let node = walk.nextNode(); node; node = walk.nextNode()) nodes.push(node);
  const at = nodes.map((node) => node.data).join('').indexOf(words);
  if (at < 0) throw new Error(`no '${words}' in the text`);
  let left = atEnd ? at + words.length - 1 : at;
  const node = nodes.find((one) => left < one.length || ((left -= one.length), false));
  const range = document.createRange();
  range.setStart(node, left);
  range.setEnd(node, left + 1);
  const pane = root.closest('.body') || document.scrollingElement;
  const frame = pane.getBoundingClientRect();
  const place = range.getBoundingClientRect();
  if (place.top < frame.top || place.bottom > frame.bottom) pane.scrollTop += place.top - frame.top - frame.height / 2;
  const box = range.getBoundingClientRect();
  return [atEnd ? box.right - 1 : box.left + 1, box.top + box.height / 2];
}
"""


@contextmanager
def serving(tool: Tool, *, port: int = 0, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve a tool on loopback, by HTTPS if there is a certificate with its key; yield the address to open."""
    import uvicorn

    from stm_agent.annotate.api.app import build_app
    from stm_agent.annotate.pages.mount import mount_pages, open_url
    from stm_agent.annotate.serve import Address, config_of

    app = build_app(tool)
    mount_pages(app)
    cert, key = tls or (None, None)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    server = uvicorn.Server(config_of(app, Address(host="127.0.0.1", port=port, tls_cert=cert, tls_key=key)))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield open_url(tool, "127.0.0.1", port, "https" if tls else "http")
    finally:
        server.should_exit = True
        thread.join(10)


def place(url: str, *parts: str) -> str:
    """Return the address of a screen, from the names of project, screen and open item."""
    return f"{url.split('?')[0]}#/{'/'.join(parts)}"


def port_of(url: str) -> int:
    """Return the port of an address, so that a test can serve there again."""
    return int(urlsplit(url).netloc.rpartition(":")[2])


@contextmanager
def browsing() -> Iterator[Browser]:
    """Start Chromium."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def new_page(browser: Browser, url: str) -> Page:
    """Open an address in a new profile, in a small window."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme="light")
    # Chromium begins to intercept requests a moment after the first route is set. This route is set early, so that a
    # later one of a test takes effect at once.
    context.route("**/never-asked", lambda route: route.abort())
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(url)
    return page


@contextmanager
def showing(tool: Tool, browser: Browser, *parts: str) -> Iterator[Page]:
    """Serve a tool for one person and open one of its screens."""
    with serving(tool) as url:
        page = new_page(browser, url)
        page.goto(place(url, *parts))
        yield page
        page.context.close()


def violations(page: Page) -> list[tuple[str, str, str, str]]:
    """Return the serious and critical problems that axe-core finds, in the light and the dark theme."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(150)
    problems = []
    shown = page.evaluate("document.documentElement.dataset.theme")
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        for problem in Axe().run(page).response["violations"]:
            if problem["impact"] in ("serious", "critical"):
                node = problem["nodes"][0]
                problems.append((theme, problem["id"], node["html"][:160], node.get("failureSummary", "")[:240]))
    page.evaluate(f"document.documentElement.dataset.theme = '{shown}'")
    return problems


def picture(page: Page, name: str, *, dark: bool = False) -> None:
    """Write a picture of the screen, if ``STM_AGENT_SCREENSHOTS`` is set."""
    if SHOTS is None:
        return
    shown = page.evaluate("document.documentElement.dataset.theme")
    page.evaluate(f"document.documentElement.dataset.theme = '{'dark' if dark else 'light'}'")
    page.mouse.move(2, 715)
    for button in page.query_selector_all(".toasts button[aria-label=Dismiss]"):
        button.evaluate("(one) => one.click()")
    page.wait_for_timeout(100)
    page.screenshot(path=str(Path(SHOTS) / f"annotate-{name}.png"))
    page.evaluate(f"document.documentElement.dataset.theme = '{shown}'")


def drag_over(page: Page, text: Locator, words: str) -> None:
    """Select some words of a text by dragging the mouse over them."""
    root = text.element_handle()
    start = page.evaluate(_POINT, [root, words, False])
    end = page.evaluate(_POINT, [root, words, True])
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def saved(page: Page, text: str = "saved") -> None:
    """Wait until a screen reports that everything typed was saved."""
    from playwright.sync_api import expect

    expect(page.locator(".saved")).to_have_text(text)


def shut(page: Page) -> None:
    """Close the open dialog with Escape and wait until it is removed, since until then it takes all keys."""
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")


def enter(browser: Browser, url: str, name: str) -> Page:
    """Open a page of project Signs, logged in as a member of its team."""
    page = new_page(browser, url)
    log_in(page, name)
    page.get_by_role("link", name="Signs").wait_for()
    return page


def log_in(page: Page, name: str) -> None:
    """Log in as a person that ``stm_agent.testing.annotate`` added."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(f"password-of-{name}")
    page.get_by_role("button", name="Log in", exact=True).click()
