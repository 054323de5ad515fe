"""The annotation tool in a real browser: the whole way from a new project to an evaluated collection.

``STM_AGENT_SCREENSHOTS=docs/images`` writes the pictures of the documentation.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from typer.testing import CliRunner

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.cli.main import build
from stm_agent.llm.scripted import scripted
from stm_agent.testing.browser import CHROMIUM, browsing, drag_over, new_page, picture, serving, shut, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
DOCUMENTS = [
    (
        "fever",
        "Fever",
        2019,
        "Fever is a rise of the body's temperature above its daily range, most often because of an infection. The "
        "brain sets a higher target and the body saves heat: shivering, pale skin, cold hands.\n\nIn adults a "
        "temperature above 38 °C, measured in the mouth, counts as a fever. It rarely needs treatment of its own. "
        "Paracetamol lowers it by about one degree; it does not shorten the illness behind it.",
    ),
    (
        "chill",
        "Chills",
        2016,
        "Chills are shivering with a feeling of cold. They come before a fever while the target rises.",
    ),
    (
        "heat",
        "Heat stroke",
        2021,
        "In heat stroke the temperature exceeds 40 °C without any fever: the target is unchanged.",
    ),
    (
        "cough",
        "Cough",
        2012,
        "A cough is a sudden expulsion of air from the lungs. It clears them of what does not belong there.",
    ),
    (
        "rash",
        "Rash",
        2018,
        "A rash is a change of the skin's colour or texture. With a high temperature, measles is possible.",
    ),
    ("ache", "Headache", 2020, "Headache is pain in the head or neck. With fever and a stiff neck it is an emergency."),
    ("script", "Markup", 2024, "<script>window.broken = true</script><b>not bold</b> is shown as it was written."),
]
ANSWER = "A fever is a rise of the body's temperature, most often because of an infection [fever]."


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """A tool for one person, its LLMs by script."""
    place = tmp_path_factory.mktemp("space")
    opened = open_tool(place)
    writer = scripted(lambda messages: ANSWER, place / "writer", usd=0.01)
    judge = scripted(lambda messages: "2" if "emperature" in messages[1]["content"] else "0", place / "judge")
    opened.doors.door = lambda choice: judge if choice.name == "judge" else writer
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tool) -> Iterator[Page]:
    with serving(tool) as url, browsing() as browser:
        opened = new_page(browser, url)
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        assert errors == []


def look(page: Page, name: str, dark: bool = False) -> None:
    """No serious violation, in light and dark; a picture where they are asked for."""
    assert violations(page) == [], name
    picture(page, name, dark=dark)


def go(page: Page, key: str) -> None:
    page.keyboard.press("g")
    page.keyboard.press(key)


def test_a_project_is_made_by_the_wizard(page):
    assert "token" not in page.url, "the token is out of the address bar"
    page.get_by_text("No projects yet.").wait_for()
    look(page, "projects-empty")
    page.keyboard.press("n")
    page.get_by_label("Name").fill("Signs")
    page.get_by_label("Tags").fill("clinic, dev")
    look(page, "wizard")
    page.get_by_role("button", name="Next: Document fields").click()
    page.get_by_role("button", name="Add a field").click()
    page.get_by_role("group", name="field 3").get_by_label("Name in the documents").fill("year")
    page.get_by_role("group", name="year").get_by_label("Type").select_option("number")
    look(page, "wizard-fields")
    page.get_by_role("button", name="Next: Levels").click()
    page.get_by_role("button", name="Add a level").click()
    page.get_by_role("group", name="level 3").get_by_label("Name").fill("Answers it")
    page.get_by_role("group", name="Answers it").get_by_label("Grade").fill("2")
    page.get_by_role("button", name="Next: Blocks").click()
    expect(page.get_by_role("group", name="Answer", exact=True).get_by_label("Who writes")).to_have_value("human")
    look(page, "wizard-blocks")
    page.get_by_role("button", name="Create the project").click()
    page.get_by_role("heading", name="0 documents").wait_for()


def test_documents_come_in_with_a_report_and_are_found_as_one_types(page, tmp_path):
    rows = [{"id": key, "title": title, "year": year, "text": text} for key, title, year, text in DOCUMENTS]
    wrong = [{"title": "nameless"}, {"id": "late", "year": "soon", "text": "x"}]
    (tmp_path / "documents.json").write_text(json.dumps([*rows, *wrong]))
    page.keyboard.press("i")
    page.set_input_files("input[type=file]", tmp_path / "documents.json")
    page.get_by_role("dialog").get_by_role("button", name="Import", exact=True).click()
    page.get_by_text(f"Imported {len(DOCUMENTS)} documents.").wait_for()
    expect(page.get_by_text("1 skipped: has no id")).to_be_visible()
    look(page, "import")
    shut(page)
    page.get_by_role("heading", name=f"{len(DOCUMENTS)} documents").wait_for()
    page.get_by_label("Filter by fields").fill("year>2018")
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_label("Filter by fields").fill("")
    page.get_by_role("button", name="rash", exact=True).click()
    page.get_by_label("New tag").fill("skin")
    page.keyboard.press("Enter")
    page.get_by_label("Remove tag skin").wait_for()
    look(page, "document")
    shut(page)
    expect(page.locator("tbody").get_by_role("button", name="skin")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type('temperature -measles "the body"')
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("searchbox", name="Search").fill("temperature fever")
    expect(page.locator("tbody tr").nth(1)).to_be_visible()
    look(page, "documents")
    page.evaluate("document.activeElement.blur()")


def test_llms_are_set_up_and_their_keys_stay_on_the_server(page):
    go(page, "l")
    for name in ("writer", "judge"):
        page.get_by_role("button", name="Set up an LLM").click()
        page.get_by_role("textbox", name="Name Blocks refer").fill(name)
        page.get_by_role("textbox", name="Model (LiteLLM name)").fill("scripted:numbered")
        page.get_by_role("textbox", name="Key Stored encrypted").fill("sk-secret")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        page.get_by_role("rowheader", name=name).wait_for()
    expect(page.get_by_role("rowheader", name="writer (default)")).to_be_visible()
    assert "sk-secret" not in page.content()
    look(page, "people")


def test_evidence_by_mouse_and_keys_and_a_draft_make_an_entry(page):
    go(page, "p")
    page.get_by_role("link", name="Signs").click()
    page.get_by_role("button", name="fever Fever").click()
    body = page.get_by_role("textbox", name="text of fever")
    body.wait_for()
    page.keyboard.press("n")
    page.locator("#block-question").fill("What is a fever?")
    expect(page.get_by_text("needs evidence first")).to_be_visible()
    drag_over(page, body, "a rise of the body's temperature above its daily range")
    page.keyboard.press("2")
    expect(page.locator(".evidence")).to_have_count(1)
    # By keys alone, over what is there.
    body.focus()
    page.evaluate("getSelection().collapse(document.activeElement, 0)")
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("1")
    expect(page.locator(".evidence.many")).to_have_count(1)
    # Another document, a level by its button, and another level after that.
    page.get_by_role("button", name="chill Chills").click()
    drag_over(page, page.get_by_role("textbox", name="text of chill"), "before a fever")
    page.get_by_role("button", name="Relevant 1", exact=True).click()
    expect(page.get_by_role("heading", name="Evidence (3)")).to_be_visible()
    page.keyboard.press("0")
    expect(page.get_by_label("Level", exact=True).last).to_have_value("irrelevant")
    page.get_by_role("button", name="fever", exact=True).first.click()
    page.get_by_role("button", name="Draft", exact=True).click()
    page.get_by_role("button", name="Accept").wait_for()
    look(page, "workspace")
    # What was edited is what is accepted, by the key too.
    page.get_by_label("Draft by").fill(ANSWER + " It rarely needs treatment.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#block-answer")).to_have_value(ANSWER + " It rarely needs treatment.")
    expect(page.get_by_role("region", name="Answer").get_by_role("button", name="fever", exact=True)).to_be_visible()
    expect(page.locator(".saved")).to_have_text("saved")


def test_work_survives_a_reload_and_is_undone(page):
    page.reload()
    page.get_by_role("heading", name="Evidence (3)").wait_for()
    expect(page.locator("#block-question")).to_have_value("What is a fever?")
    page.get_by_role("button", name="Delete this evidence").first.click()
    page.get_by_role("heading", name="Evidence (2)").wait_for()
    expect(page.locator(".saved")).to_have_text("saved")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Control+z")
    page.get_by_role("heading", name="Evidence (3)").wait_for()
    page.get_by_role("button", name="script Markup").click()
    page.get_by_role("textbox", name="text of script").get_by_text("<script>window.broken = true</script>").wait_for()
    assert page.evaluate("window.broken") is None, "what a document holds is shown, never run"
    page.keyboard.press("i")
    page.keyboard.type("written")
    expect(page.get_by_text("1 of 1")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="chill Chills").click()
    page.keyboard.press("i")
    page.get_by_role("heading", name="chill", exact=True).wait_for()
    page.keyboard.insert_text("while")
    expect(page.get_by_label("Search in this document")).to_have_value("while")
    expect(page.get_by_text("1 of 1")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("o")
    page.get_by_role("button", name="What is a fever?", exact=True).wait_for()
    look(page, "entries")
    shut(page)
    page.keyboard.press("f")
    page.get_by_text("its query is ready").wait_for()


def test_a_pool_is_judged_blind_by_keys(page):
    go(page, "j")
    page.get_by_role("heading", name="What is a fever?").wait_for()
    page.keyboard.press("r")
    page.get_by_role("button", name="Rank", exact=True).click()
    page.get_by_role("rowheader", name="bm25").wait_for()
    page.get_by_label("LLM that grades").select_option("judge")
    page.get_by_role("button", name="Grade all pools").click()
    page.get_by_role("button", name="Start grading").click()
    page.get_by_text("grading pools:").filter(has_text="done").wait_for()
    look(page, "runs")
    shut(page)
    page.locator(".passage").first.wait_for()
    count = page.locator(".passage").count()
    open_ones = page.get_by_text("unjudged")
    left = open_ones.count()
    assert left == count - 2, "the evidence is judged, the rest is not"
    expect(page.get_by_text("The LLM said")).to_have_count(2)
    page.keyboard.press("0")
    expect(open_ones).to_have_count(left - 1)
    page.keyboard.press("Control+z")
    expect(open_ones).to_have_count(left)
    page.keyboard.press("1")
    expect(page.get_by_text("The LLM said")).to_have_count(3)
    look(page, "judge", dark=True)
    for step in range(1, left):
        page.keyboard.press("0")
        expect(open_ones).to_have_count(left - 1 - step)
    page.keyboard.press("f")
    page.get_by_text("All queries are done").wait_for()


def test_every_other_screen_is_readable(page):
    go(page, "n")
    page.get_by_text("No negatives to review.").wait_for()
    look(page, "negatives")
    go(page, "m")
    page.get_by_text("Krippendorff's alpha").first.wait_for()
    look(page, "agreement")
    go(page, "s")
    page.get_by_role("heading", name="Blocks").wait_for()
    look(page, "settings")
    page.get_by_role("group", name="Question", exact=True).get_by_label("Help").fill("As a patient would ask it")
    page.keyboard.press("Control+s")
    page.get_by_text("Existing annotations were migrated").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    look(page, "keys")
    shut(page)
    go(page, "p")
    page.get_by_role("link", name="Signs").wait_for()
    look(page, "projects")
    page.get_by_role("link", name="Signs").click()
    page.get_by_role("heading", name="Signs").wait_for()


def test_the_export_is_evaluated_and_the_archive_comes_back(page, tmp_path):
    go(page, "d")
    page.get_by_role("button", name="Export").wait_for()
    for name in ("BEIR folder", "Whole project"):
        page.keyboard.press("e")
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        download.value.save_as(tmp_path / f"{name[:4]}.zip")
        shut(page)
        expect(page.locator("dialog")).to_have_count(0)
    zipfile.ZipFile(tmp_path / "BEIR.zip").extractall(tmp_path / "beir")
    (tmp_path / "programs").mkdir()
    command = ["evaluate", "bm25", "--collection", str(tmp_path / "beir"), "--split", "dev"]
    told = CliRunner().invoke(build(), [*command, "--workspace", str(tmp_path), "--json"])
    assert told.exit_code == 0, told.output
    assert 0 < json.loads(told.stdout)["ndcg_at_10"] <= 1, "which passage was graded 1 is the blind order's choice"
    go(page, "s")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_label("to confirm").fill("Signs")
    page.get_by_role("button", name="Delete permanently").click()
    page.get_by_text("No projects yet.").wait_for()
    page.keyboard.press("i")
    page.set_input_files("input[type=file]", Path(tmp_path / "Whol.zip"))
    page.get_by_role("dialog").get_by_role("button", name="Import", exact=True).click()
    page.get_by_role("heading", name=f"{len(DOCUMENTS)} documents").wait_for()
