"""The annotation tool in a real browser, for a team: invited, blind to each other, agreed, settled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.services import inviting
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, end_logins, fill
from stm_agent.testing.browser import CHROMIUM, enter, log_in, new_page, picture, shut, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """Project Signs of Ada's with Bo and Cy, two queries ranked, each to be judged by two."""
    opened = open_tool(tmp_path_factory.mktemp("space"), team=True)
    fill(opened)
    ada = client(opened, "Ada")
    project = ada.get("/projects/signs").json()
    ada.patch("/projects/signs", json={"version": project["version"], "changes": {"overlap": 2}})
    assert ada.post("/projects/signs/runs", json={"retrievers": ["bm25"]}).status_code == 200
    # She settles what the others differ on, so she is none of the judges.
    ada.delete("/projects/signs/members/Ada")
    assert ada.post("/projects/signs/deal").json()["dealt"] == 4
    yield opened
    opened.close()


def test_a_wrong_password_opens_nothing_and_an_invitation_does(tool, url, browser):
    page = new_page(browser, url)
    page.get_by_label("Name").fill("Bo")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("wrong name or password").wait_for()
    assert violations(page) == []
    picture(page, "login")
    with tool.database.writing() as session:
        token = inviting.invite(session, Actor(0, "setup", "admin"), role="annotator", project=None)
    page.goto(f"{url}join#{token}")
    page.get_by_label("Name").fill("Di")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Join").click()
    page.get_by_text("You are not in a project yet").wait_for()
    page.context.close()


def test_two_people_judge_blind_to_each_other_and_a_third_settles(url, browser):
    grades = {"Bo": ("3", "0"), "Cy": ("3", "2")}
    for name, (raised, other) in grades.items():
        page = enter(browser, url, name)
        expect(page.get_by_role("link", name="People, LLMs")).to_have_count(0)
        page.get_by_role("link", name="Signs").click()
        expect(page.get_by_role("link", name="Settings")).to_have_count(0)
        query = page.get_by_role("region", name="Passages").get_by_role("heading")
        for left in (1, 0):
            passages = page.locator(".passage")
            passages.first.wait_for()
            asked = query.inner_text()
            for number in range(passages.count()):
                passages.nth(number).locator(".text").click()
                page.keyboard.press(raised if "raised" in passages.nth(number).inner_text() else other)
                expect(passages.nth(number).locator("[aria-pressed=true]")).to_have_count(1)
            assert "Bo:" not in page.inner_text("body"), "blind until one is done"
            page.keyboard.press("f")
            page.get_by_text("done").first.wait_for()
            if left:
                expect(query).not_to_have_text(asked)
        page.get_by_text("All queries are done").wait_for()
        if name == "Cy":
            page.get_by_text("Bo: ").first.wait_for()
            assert violations(page) == []
        page.context.close()
    ada = enter(browser, url, "Ada")
    ada.get_by_role("link", name="Signs").click()
    ada.get_by_role("link", name="Agreement").wait_for()
    ada.keyboard.press("g")
    ada.keyboard.press("m")
    ada.get_by_role("heading", name="To settle (").wait_for()
    ada.get_by_text("Between people").wait_for()
    assert violations(ada) == []
    picture(ada, "agreement")
    before = ada.get_by_role("heading", name="To settle (").inner_text()
    ada.keyboard.press("1")
    ada.get_by_text("Settled as Related").wait_for()
    expect(ada.get_by_role("heading", name="To settle (")).not_to_have_text(before)
    ada.get_by_label("Which disagreements").select_option("Settled")
    ada.get_by_text("Ada settled it as Related").wait_for()
    ada.get_by_text("Bo and Cy on the same passages").click()
    ada.get_by_text("Bo (rows) and Cy (columns)").wait_for()
    assert violations(ada) == []
    with ada.expect_download() as loading:
        ada.get_by_role("button", name="Download as CSV").click()
    assert loading.value.suggested_filename == "agreement.csv"
    ada.get_by_role("button", name="Reopen").click()
    ada.get_by_text("Nothing settled yet").wait_for()
    ada.get_by_label("Which disagreements").select_option("To settle")
    expect(ada.get_by_role("heading", name="To settle (")).to_have_text(before)
    ada.context.close()


def test_an_invitation_is_seen_and_taken_back(tool, url, browser):
    page = enter(browser, url, "Ada")
    page.get_by_role("link", name="People, LLMs").click()
    page.get_by_role("button", name="Invite somebody").click()
    page.get_by_role("button", name="Create a link").click()
    page.get_by_text("The link works once").wait_for()
    shut(page)
    page.get_by_text("Open invitations").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text("Invitation revoked").wait_for()
    assert client(tool, "Ada").get("/invitations").json() == []
    page.context.close()


def test_a_login_that_ends_keeps_the_page_and_what_was_typed(tool, url, browser):
    page = enter(browser, url, "Bo")
    page.get_by_role("link", name="Signs").click()
    page.get_by_role("heading", name="Queries").wait_for()
    page.keyboard.press("n")
    page.get_by_label("Query", exact=True).fill("typed before the login ended")
    end_logins(tool)
    # A load that was still on its way may have told it by now; then the button is behind that dialog.
    page.get_by_role("button", name="Add", exact=True).dispatch_event("click")
    page.get_by_role("heading", name="Your session has expired").wait_for()
    assert violations(page) == []
    log_in(page, "Bo")
    expect(page.get_by_role("heading", name="Your session has expired")).to_have_count(0)
    expect(page.get_by_label("Query", exact=True)).to_have_value("typed before the login ended")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("Query added; it is not assigned to anybody yet").wait_for()
    assert client(tool, "Ada").get("/projects/signs/queries").json()[-1]["text"] == "typed before the login ended"
    page.context.close()
