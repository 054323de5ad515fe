"""What is typed in a real browser: it stands as it was typed, and whatever happens while it is saved loses none."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from stm_agent.annotate.services import projects
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, fill, own_project
from stm_agent.testing.browser import CHROMIUM, enter, new_page, place, serving, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
LONG = "\n".join(f"Line {number} of a long report on fever." for number in range(300))
STANDS = """
([words]) => {
  const { focusNode, focusOffset } = getSelection();
  const letter = document.createRange();
  letter.setStart(focusNode, Math.max(focusOffset - 1, 0));
  letter.setEnd(focusNode, focusOffset);
  const place = letter.getBoundingClientRect();
  const pane = document.querySelector(".text").closest(".body").getBoundingClientRect();
  return [getSelection().toString(), place.top >= pane.top - 1 && place.bottom <= pane.bottom + 1];
}
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """A tool for one person, with a question, an answer, a number, and a long document."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    with own_project(opened, [("long", {"text": LONG}), ("short", {"text": "On fever."})]) as (session, me, made):
        blocks = [*made.schema["blocks"], {"id": "dose", "name": "Dose", "type": "number"}]
        projects.edit(session, me, made, {"schema": {**made.schema, "blocks": blocks}}, version=1)
    yield opened
    opened.close()


@pytest.fixture
def page(browser, url) -> Iterator[Page]:
    """A new entry beside the long document."""
    page = new_page(browser, url)
    page.goto(place(url, "signs", "work", "long"))
    page.get_by_role("heading", name="long").wait_for()
    with page.expect_response("**/entries") as made:
        page.get_by_role("button", name="New n").click()
    page.wait_for_url(f"**/{made.value.json()['key']}")
    page.locator("#block-question").wait_for()
    yield page
    page.context.close()


def state(page: Page, text: str) -> None:
    expect(page.get_by_role("region", name="Entry").locator(".saved")).to_have_text(text)


def no_saves(route: Route) -> None:
    if route.request.method == "PATCH":
        route.abort()
    else:
        route.continue_()


def lose(route: Route) -> None:
    """Let a request arrive, and its answer get lost."""
    route.fetch()
    route.abort()


def key_of(page: Page) -> str:
    return page.url.rsplit("/", 1)[1]


def test_what_is_typed_while_a_save_hangs_is_kept_with_what_hangs(page, url):
    page.route("**/entries/*", lambda route: None if route.request.method == "PATCH" else route.continue_())
    page.locator("#block-question").fill("the first")
    state(page, "saving")
    page.locator("#block-answer").fill("the second")
    state(page, "waiting")
    again = page.context.new_page()
    page.close()
    again.goto(place(url, "signs", "work", "long"))
    expect(again.locator("#block-question")).to_have_value("the first")
    expect(again.locator("#block-answer")).to_have_value("the second")
    state(again, "saved")
    assert again.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('unsaved '))") == []


def test_an_answer_that_got_lost_is_no_conflict_with_what_was_typed_since(page):
    page.route("**/entries/*", lose, times=1)
    page.locator("#block-question").fill("the first")
    state(page, "not saved")
    page.locator("#block-answer").fill("the second")
    state(page, "saved")
    expect(page.get_by_role("heading", name="Changed elsewhere")).to_have_count(0)
    row = page.evaluate("async (key) => (await fetch(`/api/v1/projects/signs/entries/${key}`)).json()", key_of(page))
    assert row["values"] == {"question": "the first", "answer": "the second"}


def test_a_window_that_saves_takes_nothing_from_one_that_waits_for_a_choice(page):
    page.locator("#block-question").fill("once")
    state(page, "saved")
    other = page.context.new_page()
    other.goto(page.url)
    other.locator("#block-question").fill("from the other")
    state(other, "saved")
    page.locator("#block-question").fill("from here")
    page.get_by_role("heading", name="Changed elsewhere").wait_for()
    other.locator("#block-answer").fill("more from the other")
    state(other, "waiting")
    state(other, "saved")
    page.close()
    other.reload()
    other.get_by_role("heading", name="Changed elsewhere").wait_for()
    expect(other.locator("dialog td", has_text="from here")).to_have_count(1)
    other.get_by_role("button", name="Keep mine").click()
    state(other, "saved")
    expect(other.locator("#block-question")).to_have_value("from here")
    expect(other.locator("#block-answer")).to_have_value("more from the other")


def dose_is(page: Page, wanted: float | None) -> None:
    """Wait until the number that is stored is the one that is meant."""
    page.wait_for_function(
        """async ([key, wanted]) => {
          const { values } = await (await fetch(`/api/v1/projects/signs/entries/${key}`)).json();
          return (values.dose ?? null) === wanted;
        }""",
        arg=[key_of(page), wanted],
        polling=200,
    )


@pytest.mark.parametrize(
    ("typed", "meant"), [("0.05", 0.05), ("1.05", 1.05), ("-0.5", -0.5), ("1e-3", 0.001), ("", None)]
)
def test_a_number_stands_as_it_is_typed(page, typed, meant):
    box = page.locator("#block-dose")
    box.press_sequentially("7", delay=30)
    dose_is(page, 7)
    box.press("Backspace")
    box.press_sequentially(typed, delay=30)
    expect(box).to_have_value(typed)
    dose_is(page, meant)
    expect(box).to_have_value(typed)


def test_evidence_is_marked_by_keys_far_down_and_goes_on_where_it_was(page):
    text = page.get_by_role("textbox", name="text of long")
    text.focus()
    for _ in range(60):
        page.keyboard.press("ArrowDown")
    chosen, seen = page.evaluate(STANDS, [""])
    assert seen, "what is selected is on the screen"
    assert int(re.search(r"Line (\d+)", chosen)[1]) >= 55
    page.keyboard.press("1")
    page.get_by_role("heading", name="Evidence (1)").wait_for()
    page.keyboard.press("ArrowRight")
    after, seen = page.evaluate(STANDS, [""])
    assert seen
    page.keyboard.press("Shift+ArrowDown")
    further, seen = page.evaluate(STANDS, [""])
    assert seen and int(re.search(r"Line (\d+)", further)[1]) >= 55, (after, further)


def test_a_save_moves_nobody_away_from_where_they_read(page):
    page.get_by_label("Search in this document").fill("line 3 of")
    expect(page.locator("mark.hit")).to_be_in_viewport()
    pane = page.locator(".text").locator("xpath=ancestor::*[contains(@class,'body')]")
    pane.evaluate("(one) => { one.scrollTop = one.scrollHeight; }")
    page.locator("#block-question").fill("typed beside it")
    state(page, "saved")
    page.wait_for_timeout(300)
    expect(page.locator("mark.hit")).not_to_be_in_viewport()


def test_an_entry_that_somebody_changed_is_not_finished_without_its_query(page):
    page.locator("#block-question").fill("what?")
    page.locator("#block-answer").fill("that")
    state(page, "saved")
    page.evaluate(
        """async (key) => {
          const { api } = await import("/static/api.js");
          const path = `projects/signs/entries/${key}`;
          const { version } = await api.get(path);
          await api.patch(path, { version, changes: { notes: "from elsewhere" } });
        }""",
        key_of(page),
    )
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.get_by_text("so it is not finished").wait_for()
    expect(page.get_by_label("Notes")).to_have_value("from elsewhere")
    expect(page.get_by_label("State of the entry")).to_have_value("draft")
    page.keyboard.press("f")
    page.get_by_text("Finished; its query is ready to be judged").wait_for()


def test_an_entry_whose_query_cannot_be_made_is_not_finished(page):
    page.route("**/query", lambda route: route.abort())
    page.locator("#block-question").fill("what?")
    page.locator("#block-answer").fill("that")
    state(page, "saved")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.get_by_text("Error:").wait_for()
    expect(page.get_by_label("State of the entry")).to_have_value("draft")
    state(page, "saved")
    page.unroute("**/query")
    page.keyboard.press("f")
    page.get_by_text("Finished; its query is ready to be judged").wait_for()


def test_evidence_that_was_deleted_comes_back_whatever_was_typed_since(page):
    page.get_by_role("textbox", name="text of long").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("1")
    page.get_by_role("heading", name="Evidence (1)").wait_for()
    page.get_by_role("button", name="Delete this evidence").click()
    page.get_by_role("heading", name="Evidence (0)").wait_for()
    page.locator("#block-question").fill("typed since")
    page.locator(".toasts").get_by_role("button", name="Undo").click()
    page.get_by_role("heading", name="Evidence (1)").wait_for()
    expect(page.locator("#block-question")).to_have_value("typed since")
    state(page, "saved")


def test_an_entry_that_is_begun_twice_is_no_conflict_with_oneself(page, url):
    there = key_of(page)
    page.get_by_role("region", name="Documents").get_by_role("button", name="short").click()
    page.get_by_role("heading", name="short").wait_for()
    page.evaluate("document.activeElement.blur()")
    with page.expect_response("**/entries") as made:
        page.keyboard.press("n")
    assert made.value.json()["key"] == there, "it is empty, and taken for another document"
    page.locator("#block-question").fill("of the short one")
    state(page, "saved")
    row = page.evaluate("async (key) => (await fetch(`/api/v1/projects/signs/entries/${key}`)).json()", there)
    assert (row["about"], row["values"]) == ("short", {"question": "of the short one"})
    page.locator("#block-question").fill("and more of it")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("n")
    expect(page.locator("#block-question")).to_have_value("")
    expect(page.get_by_role("heading", name="Changed elsewhere")).to_have_count(0)
    row = page.evaluate("async (key) => (await fetch(`/api/v1/projects/signs/entries/${key}`)).json()", there)
    assert row["values"] == {"question": "and more of it"}


def test_an_entry_that_is_no_more_is_left(page, url):
    page.goto(place(url, "signs", "work", "long", "gone"))
    page.get_by_text("there is no entry 'gone'").wait_for()
    page.wait_for_url(lambda address: not address.endswith("gone"))
    expect(page.get_by_role("region", name="Entry").get_by_text("Loading")).to_have_count(0)


def test_an_entry_is_finished_by_one_press_also_after_a_lost_answer(page):
    page.locator("#block-answer").fill("that")
    state(page, "saved")
    page.route("**/entries/*", lose, times=1)
    page.locator("#block-question").fill("what?")
    state(page, "not saved")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.get_by_text("Finished; its query is ready to be judged").wait_for()


def test_undo_pressed_twice_at_once_undoes_two_things_and_tells_no_conflict(page):
    for words in ("one", "two", "three"):
        page.locator("#block-question").fill(words)
        state(page, "waiting")
        state(page, "saved")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(page.locator("#block-question")).to_have_value("one")
    expect(page.get_by_text("Error:")).to_have_count(0)


def test_an_entry_that_cannot_be_loaded_comes_later_and_nothing_is_marked_elsewhere(page, url):
    page.locator("#block-question").fill("here I am")
    state(page, "saved")
    there = page.url
    again = page.context.new_page()
    again.route("**/entries/*", lambda route: route.abort())
    again.goto(there)
    again.get_by_role("heading", name="long").wait_for()
    expect(again.get_by_role("region", name="Entry").get_by_text("Loading")).to_be_visible()
    again.get_by_role("textbox", name="text of long").focus()
    again.keyboard.press("ArrowDown")
    again.keyboard.press("1")
    again.get_by_text("The entry is still loading").wait_for()
    again.unroute("**/entries/*")
    expect(again.locator("#block-question")).to_have_value("here I am")
    again.keyboard.press("1")
    again.get_by_role("heading", name="Evidence (1)").wait_for()
    assert key_of(again) == key_of(page)


def test_the_skip_link_leaves_the_address_as_it_is(page, url):
    there = page.url
    page.evaluate("document.activeElement.blur()")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.url == there != place(url, "signs", "work", "long")


def test_of_several_files_a_bad_one_keeps_no_other_out(page, url, tmp_path):
    page.goto(place(url, "signs", "documents"))
    (tmp_path / "a.jsonl").write_text('{"_id": "a1", "text": "one"}\n')
    (tmp_path / "b.jsonl").write_text("no JSON\n")
    (tmp_path / "c.jsonl").write_text('{"_id": "c1", "text": "two"}\n')
    page.get_by_role("button", name="Import i").click()
    page.get_by_label("Files").set_input_files([tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")])
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("Imported 2 documents").wait_for()
    assert violations(page) == []


def test_the_form_of_a_query_takes_all_that_is_typed_and_tells_its_faults_itself(page, url):
    page.goto(place(url, "signs", "judge"))
    page.get_by_role("heading", name="Queries").wait_for()
    page.keyboard.press("n")
    page.keyboard.type("Which 3 drugs")
    expect(page.get_by_label("Query", exact=True)).to_have_value("Which 3 drugs")
    page.route("**/queries", lambda route: route.abort())
    page.get_by_role("button", name="Add", exact=True).click()
    fault = page.get_by_role("dialog").get_by_role("alert")
    expect(fault).to_contain_text("the server does not answer")
    assert violations(page) == []
    fault.get_by_role("button", name="Dismiss").click()
    expect(fault).to_have_count(0)


def test_whoever_logs_out_is_asked_about_what_is_not_saved(small, browser: Browser):
    fill(small, "qa")
    with serving(small) as url:
        page = enter(browser, url, "Bo")
        page.goto(place(url, "signs", "work", "d1"))
        page.get_by_role("button", name="New n").click()
        page.locator("#block-question").fill("saved by logging out")
        page.get_by_role("button", name="Log out Bo").click()
        page.get_by_role("heading", name="stm-agent annotate").wait_for()
        (row,) = client(small, "Bo").get("/projects/signs/entries").json()
        assert row["values"] == {"question": "saved by logging out"}
        page.goto(url)
        page.reload()
        page.get_by_label("Name").fill("Bo")
        page.get_by_label("Password").fill("password-of-Bo")
        page.get_by_role("button", name="Log in", exact=True).click()
        page.get_by_role("link", name="Signs").wait_for()
        page.goto(place(url, "signs", "work", "d1"))
        page.locator("#block-question").wait_for()
        page.route("**/entries/*", no_saves)
        page.locator("#block-question").fill("not saved")
        page.get_by_role("button", name="Log out Bo").click()
        page.get_by_role("heading", name="Unsaved changes").wait_for()
        assert violations(page) == []
        page.get_by_role("button", name="Stay").click()
        expect(page.locator("#block-question")).to_have_value("not saved")
        page.evaluate('localStorage.setItem(\'unsaved by Cy x\', \'{"path": "x", "at": 1}\')')
        page.evaluate('localStorage.setItem(\'unsaved by Bo x\', \'{"path": "gone", "at": 1, "body": {}}\')')
        page.route("**/gone", lambda route: route.abort())
        page.get_by_role("button", name="Log out Bo").click()
        page.get_by_role("button", name="Log out and discard it").click()
        page.get_by_role("button", name="Log in", exact=True).wait_for()
        kept = page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('unsaved '))")
        assert kept == ["unsaved by Cy x"], "what is somebody else's is theirs"
        page.context.close()


def test_over_plain_http_in_a_network_evidence_is_marked_and_a_schema_is_edited(small, browser: Browser):
    fill(small, "qa")
    with serving(small) as url:
        url = url.replace("127.0.0.1", "team.example")
        page = enter(browser, url, "Ada")
        assert not page.evaluate("isSecureContext"), "as in a team's own network"
        page.goto(place(url, "signs", "work", "d1"))
        page.get_by_role("button", name="New n").click()
        page.locator("#block-question").wait_for()
        page.get_by_role("textbox", name="text of d1").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("1")
        page.get_by_role("heading", name="Evidence (1)").wait_for()
        state(page, "saved")
        page.goto(place(url, "signs", "settings"))
        page.get_by_role("button", name="Add a level").click()
        expect(page.get_by_role("group", name="level 3")).to_be_visible()
        page.context.close()
