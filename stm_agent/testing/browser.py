"""The annotation tool in a real browser: serve it, open it, look at it, select in it as a mouse does."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stm_agent.annotate.tool import Tool
from stm_agent.testing.annotate import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
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
def serving(tool: Tool, *, port: int = 0) -> Iterator[str]:
    """Serve a tool on loopback; gives the address to open."""
    import uvicorn

    from stm_agent.annotate.api.app import build_app
    from stm_agent.annotate.pages.mount import mount_pages, open_url

    app = build_app(tool)
    mount_pages(app)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield open_url(tool, "127.0.0.1", port)
    finally:
        server.should_exit = True
        thread.join(10)


def place(url: str, *parts: str) -> str:
    """Return the address of a screen: project, screen, and what is open on it."""
    return f"{url.split('?')[0]}#/{'/'.join(parts)}"


def port_of(url: str) -> int:
    """Return the port of an address, to serve it there again."""
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
    """Open an address in a profile of its own, in a small window."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme="light")
    # Chromium begins to ask about requests a moment after it is told to, and lets those before it pass: what a test
    # wants to stop must not be the first.
    context.route("**/never-asked", lambda route: route.abort())
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(url)
    return page


@contextmanager
def showing(tool: Tool, browser: Browser, *parts: str) -> Iterator[Page]:
    """Serve a tool for one person and open a screen of it."""
    with serving(tool) as url:
        page = new_page(browser, url)
        page.goto(place(url, *parts))
        yield page
        page.context.close()


def violations(page: Page) -> list[Any]:
    """Return what axe-core finds that is serious or worse, in light and in dark."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(150)
    found = []
    shown = page.evaluate("document.documentElement.dataset.theme")
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        for one in Axe().run(page).response["violations"]:
            if one["impact"] in ("serious", "critical"):
                node = one["nodes"][0]
                found.append((theme, one["id"], node["html"][:160], node.get("failureSummary", "")[:240]))
    page.evaluate(f"document.documentElement.dataset.theme = '{shown}'")
    return found


def picture(page: Page, name: str, *, dark: bool = False) -> None:
    """Write a picture of the screen, where pictures are asked for."""
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
    """Wait until a screen says so of what was typed on it."""
    from playwright.sync_api import expect

    expect(page.locator(".saved")).to_have_text(text)


def shut(page: Page) -> None:
    """Close the open dialog by its key, and wait until it is gone: before that no key reaches the screen behind it."""
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")


def enter(browser: Browser, url: str, name: str) -> Page:
    """Open a page of project Signs' team as one of them, who has logged in."""
    page = new_page(browser, url)
    log_in(page, name)
    page.get_by_role("link", name="Signs").wait_for()
    return page


def log_in(page: Page, name: str) -> None:
    """Log somebody in whom ``stm_agent.testing.annotate`` made."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(f"password-of-{name}")
    page.get_by_role("button", name="Log in", exact=True).click()
