"""Grades, notes and answers in a real browser: a server or a login that goes, and a tab that is closed, lose none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from stm_agent.annotate.tables import Doubt, Project
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, end_logins, fill, until
from stm_agent.testing.browser import CHROMIUM, enter, log_in, place, port_of, saved, serving, shut, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

DISPUTES = "/projects/signs/disagreements"


@pytest.fixture
def tool(tmp_path) -> Iterator[Tool]:
    """Project Signs with a pool of three passages and three doubtful negatives."""
    opened = open_tool(tmp_path, team=True)
    fill(opened)
    run = "".join(f"q1 Q0 d{number} {number} {9 - number} mine\n" for number in (1, 2, 3))
    client(opened, "Ada").post("/projects/signs/runs/trec", files={"file": ("run.txt", run)})
    with opened.database.writing() as session:
        project = session.scalar(select(Project.id))
        session.add_all(
            Doubt(project_id=project, query=f"query {number}", positive="p", negative="n", origin="bm25")
            for number in (1, 2, 3)
        )
    yield opened
    opened.close()


def begin(browser: Browser, url: str, name: str = "Bo", screen: tuple[str, ...] = ("judge", "q1")) -> Page:
    page = enter(browser, url, name)
    page.goto(place(url, "signs", *screen))
    page.locator(".passage, .card").first.wait_for()
    return page


def stored(tool: Tool) -> list[tuple[int | None, str]]:
    """Bo's grades and notes, in the order of the pool."""
    rows = client(tool, "Bo").get("/projects/signs/queries/q1/pool").json()
    return [(row["grade"], row["note"]) for row in rows]


def answers(tool: Tool) -> list[str | None]:
    with tool.database.reading() as session:
        return list(session.scalars(select(Doubt.answer).order_by(Doubt.query)))


def test_grades_and_a_note_wait_for_a_server_that_is_away(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url)
        page.keyboard.press("1")
        saved(page, "saved")
    for key in ("2", "3", "k", "c"):
        page.keyboard.press(key)
    page.keyboard.type("seen twice")
    saved(page, "not saved")
    expect(page.locator(".passage [aria-pressed=true]")).to_have_count(3)
    expect(page.get_by_text("Error:")).to_have_count(0)
    assert violations(page) == []
    assert stored(tool) == [(1, ""), (None, ""), (None, "")]
    shut(page)
    page.keyboard.press("f")
    page.get_by_text("finish the query when they are").wait_for()
    with serving(tool, port=port_of(url)):
        saved(page, "saved")
        assert stored(tool) == [(1, ""), (2, "seen twice"), (3, "")]
        page.keyboard.press("f")
        page.get_by_text("Query finished; here is the next one").wait_for()
        page.context.close()


def test_a_tab_that_is_closed_meanwhile_sends_its_grades_when_it_is_opened_again(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url)
    page.keyboard.press("1")
    page.keyboard.press("2")
    saved(page, "not saved")
    again = page.context.new_page()
    page.close()
    with serving(tool, port=port_of(url)):
        # Whatever screen is opened first.
        again.goto(place(url, "signs", "documents"))
        until(lambda: stored(tool), [(1, ""), (2, ""), (None, "")])
        again.goto(place(url, "signs", "judge", "q1"))
        expect(again.locator(".passage [aria-pressed=true]")).to_have_count(2)
        saved(again, "saved")
        again.context.close()


def test_a_page_loaded_anew_shows_what_still_waits(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url)
        page.route("**/judgements/**", lambda route: route.abort())
        page.keyboard.press("3")
        saved(page, "not saved")
        page.reload()
        expect(page.locator(".passage [aria-pressed=true]")).to_have_count(1)
        saved(page, "not saved")
        page.unroute("**/judgements/**")
        saved(page, "saved")
        assert stored(tool) == [(3, ""), (None, ""), (None, "")]
        page.context.close()


def test_an_answer_that_got_lost_is_no_conflict_and_another_windows_grade_is(tool, browser):
    bo = client(tool, "Bo")
    first = bo.get("/projects/signs/queries/q1/pool").json()[0]["document"]
    grade = f"/projects/signs/queries/q1/judgements/{first}"
    with serving(tool) as url:
        page = begin(browser, url)
        page.route("**/judgements/**", lambda route: route.abort() if route.fetch() else None, times=1)
        page.keyboard.press("2")
        saved(page, "saved")
        expect(page.get_by_text("Error:")).to_have_count(0)
        assert bo.put(grade, json={"grade": 1, "version": 1}).status_code == 200
        page.keyboard.press("k")
        page.keyboard.press("3")
        page.get_by_text("was changed by somebody else").wait_for()
        expect(page.get_by_label("Grade of passage 1").locator("[aria-pressed=true]")).to_have_text("Related")
        saved(page, "saved")
        page.context.close()


def test_a_login_that_ends_keeps_the_grades(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url)
        end_logins(tool)
        page.keyboard.press("1")
        page.get_by_role("heading", name="Your session has expired").wait_for()
        assert violations(page) == []
        log_in(page, "Bo")
        saved(page, "saved")
        expect(page.locator(".passage [aria-pressed=true]")).to_have_count(1)
        assert stored(tool)[0] == (1, "")
        page.context.close()


def test_what_could_not_be_loaded_comes_once_the_server_or_the_login_is_back(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url)
        end_logins(tool)
        page.get_by_role("button", name="skin is red").click()
        page.get_by_role("heading", name="Your session has expired").wait_for()
        log_in(page, "Bo")
        page.get_by_text("No passage is pooled for this query").wait_for()
        expect(page.get_by_role("heading", name="Your session has expired")).to_have_count(0)
    page.get_by_role("button", name="high temperature").click()
    page.get_by_text("the server does not answer").wait_for()
    with serving(tool, port=port_of(url)):
        expect(page.locator(".passage")).to_have_count(3)
        expect(page.get_by_text("the server does not answer")).to_have_count(0)
        page.context.close()


def test_nothing_is_saved_in_the_name_of_somebody_else(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url)
        end_logins(tool)
        page.keyboard.press("1")
        page.get_by_role("heading", name="Your session has expired").wait_for()
        log_in(page, "Cy")
        page.get_by_role("button", name="Log out Cy").wait_for()
        page.locator(".passage").first.wait_for()
        expect(page.locator(".passage [aria-pressed=true]")).to_have_count(0)
        rows = client(tool, "Cy").get("/projects/signs/queries/q1/pool").json()
        assert [row["grade"] for row in rows] == [None] * 3
        page.context.close()


def test_answers_to_doubtful_negatives_wait_as_well(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url, screen=("review",))
        heading = page.get_by_role("heading", name="Hard negatives to review")
        expect(heading).to_contain_text("(3)")
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("Control+z")
    expect(heading).to_contain_text("(2)")
    page.keyboard.press("3")
    saved(page, "not saved")
    assert violations(page) == []
    assert answers(tool) == [None] * 3
    with serving(tool, port=port_of(url)):
        saved(page, "saved")
        assert answers(tool) == ["negative", "broken", None]
        page.keyboard.press("Control+z")
        until(lambda: answers(tool), ["negative", None, None])
        expect(heading).to_contain_text("(2)")
        page.context.close()


def test_a_query_that_was_begun_survives_a_closed_tab(tool, browser):
    with serving(tool) as url:
        page = begin(browser, url)
        page.keyboard.press("n")
        page.get_by_label("Query", exact=True).fill("half a query")
        page.reload()
        page.locator(".passage").first.wait_for()
        page.keyboard.press("n")
        expect(page.get_by_label("Query", exact=True)).to_have_value("half a query")
        assert violations(page) == []
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_text("Query added").or_(page.get_by_role("heading", name="half a query")).first.wait_for()
        page.keyboard.press("n")
        expect(page.get_by_label("Query", exact=True)).to_have_value("")
        page.context.close()


def settled(tool: Tool) -> list[int]:
    return [row["final"]["grade"] for row in client(tool, "Ada").get(DISPUTES, params={"settled": True}).json()]


def test_what_is_settled_while_the_server_is_away_is_settled_later(tool, browser):
    for name, grade in (("Bo", 3), ("Cy", 0)):
        for document in ("d1", "d2"):
            client(tool, name).put(f"/projects/signs/queries/q1/judgements/{document}", json={"grade": grade})
    with serving(tool) as url:
        page = begin(browser, url, "Ada", ("agreement",))
        page.get_by_role("heading", name="To settle (2)").wait_for()
        page.locator(".card .text").wait_for()
    page.keyboard.press("1")
    saved(page, "not saved")
    page.get_by_role("heading", name="To settle (1)").wait_for()
    assert settled(tool) == []
    with serving(tool, port=port_of(url)):
        page.get_by_text("Settled as Related").wait_for()
        saved(page, "saved")
        assert settled(tool) == [1]
        page.get_by_label("Which disagreements").select_option("Settled")
        page.get_by_text("Ada settled it as").wait_for()
        page.locator(".card .text").wait_for()
    page.get_by_role("button", name="Reopen").click()
    saved(page, "not saved")
    again = page.context.new_page()
    page.close()
    with serving(tool, port=port_of(url)):
        again.goto(place(url, "signs", "agreement"))
        again.get_by_role("heading", name="To settle (2)").wait_for()
        assert settled(tool) == []
        again.context.close()
