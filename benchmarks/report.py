"""The page of a run: its size, how long it takes to make, to open and to answer a click; pictures for the docs.

    python benchmarks/report.py --run runs/RUN [--pictures docs/images]

Measures the page of a real run in which an LLM wrote and negatives were audited, and of a made-up run with 10,000
queries and 500 trials whose texts are those of the real run's corpus, in Chromium. Each time is the median of several.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import RESULTS, claim, machine, versions
from _report_parts import PARTS, contents, lacking

from stm_agent.files import read_jsonl, write_atomic, write_json
from stm_agent.inspect.page.build import LARGEST, PAGE, write_page
from stm_agent.inspect.page.queries import corpus_documents
from stm_agent.inspect.page.record import read_record
from stm_agent.testing.browser import browsing, violations
from stm_agent.testing.run_folder import FakeRun

REPEATS = 5
CLICKS = ("query", "trial", "filter")


def made(folder: Path, repeats: int = 3) -> dict[str, Any]:
    """Write the page; return the seconds of each time and its bytes."""
    seconds = []
    for _ in range(repeats):
        started = time.monotonic()
        path = write_page(folder)
        seconds.append(round(time.monotonic() - started, 3))
    return {"make_seconds": seconds, "bytes": path.stat().st_size}


def opened(browser: Any, folder: Path) -> dict[str, Any]:
    """Open the page several times and click a query, a trial and a filter; return milliseconds and requests."""
    loads, clicks, asked = [], {"query": [], "trial": [], "filter": []}, []
    for _ in range(REPEATS):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        started = time.monotonic()
        page.goto((folder / PAGE).resolve().as_uri())
        page.wait_for_selector("[data-ready]")
        loads.append(round(1000 * (time.monotonic() - started), 1))
        page.wait_for_timeout(1500)
        for name, action in (
            ("query", "document.querySelectorAll('#queries .line')[1].click()"),
            ("trial", "document.querySelectorAll('#search .line')[1].click()"),
            ("filter", "document.querySelector('#queries input[type=checkbox]').click()"),
        ):
            # Until the frame after the click is drawn.
            clicks[name].append(
                round(
                    page.evaluate(f"""() => new Promise((done) => {{
                const began = performance.now();
                {action};
                requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
            }})"""),
                    1,
                )
            )
        page.close()
    outside = [url for url in asked if not url.startswith(("file:", "data:"))]
    return {"open_ms": loads, "click_ms": clicks, "requests_outside": outside}


def walk(browser: Any, folder: Path, pictures: Path | None) -> dict[str, Any]:
    """Walk every part of a real run's page; return what each holds, and axe's serious findings."""
    page = browser.new_page(viewport={"width": 1180, "height": 860}, color_scheme="light")
    page.goto((folder / PAGE).resolve().as_uri())
    page.wait_for_selector("[data-ready]")
    page.evaluate("document.querySelector('header').style.position = 'static'")
    page.locator("#queries .line").first.click()
    lines = page.locator("#search .line").all_inner_texts()
    chats = [at for at, text in enumerate(lines) if "reflection" in text]
    scored = [at for at in chats if re.search(r"\b[01]\.\d{3}\b", lines[at])]
    page.locator("#search .line").nth((*scored, *chats, 0)[0]).click()
    page.wait_for_timeout(300)
    letters = {}
    for part in PARTS:
        section = page.locator(f"#{part}")
        section.scroll_into_view_if_needed()
        page.wait_for_timeout(1200)
        letters[part] = len(section.inner_text())
        if pictures:
            section.screenshot(path=str(pictures / f"report-{part}.png"))
    if pictures:
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.locator("#search").screenshot(path=str(pictures / "report-search-dark.png"))
        page.evaluate("document.documentElement.dataset.theme = 'light'")
    found = contents(page)
    top5 = page.locator("#queries .pair ol.found li").count()
    return {
        "letters": letters,
        "parts": found,
        "trials": page.locator("#search .line").count(),
        "points": page.locator("#search .mark-symbol path").count(),
        "top_passages_of_two_rows": top5,
        "marked_relevant": page.locator("#queries .pair li.relevant").count(),
        "axe": [list(problem) for problem in violations(page)],
    }


def require_whole(parser: argparse.ArgumentParser, run: Path) -> None:
    """End with a message if a run has no part of what its page must show."""
    record = read_record(run)
    audited = any(entry["name"] == "audit" for entry in record.events("stage"))
    reflected = any(trace["origin"] == "reflection" for trace in record.traces)
    needed = {"a test": record.per_query, "an audit": audited, "written texts": any(record.events("written"))}
    needed |= {"a merge": any(record.events("front")), "reflections": reflected}
    if missing := [name for name, there in needed.items() if not there]:
        parser.error(f"{run.name} has not {', '.join(missing)}; name a finished run with an LLM and an audit")


def large(real: Path, target: Path, queries: int = 10_000, trials: int = 500) -> Path:
    """Write a run of many queries and trials with the texts of a real corpus."""
    FakeRun(queries=queries, trials=trials, documents=20_000).write(target)
    texts, draw = (
        [document.full for document in corpus_documents(read_record(real)).values() if document.full],
        random.Random(0),
    )
    corpus = read_jsonl(target / "dev" / "corpus.jsonl")
    lines = (json.dumps({"_id": row["_id"], "text": mixed(texts, draw, 40)}) for row in corpus)
    write_atomic(target / "dev" / "corpus.jsonl", "".join(f"{line}\n" for line in lines))
    answers = json.loads((target / "test_answers.json").read_text())
    answers["queries"] = {query: mixed(texts, draw, 9) for query in answers["queries"]}
    write_json(target / "test_answers.json", answers)
    return target


def mixed(texts: list[str], draw: random.Random, words: int) -> str:
    """Return words of two random passages, so that no two texts are the same and they compress as real ones do."""
    parts = [draw.choice(texts).split() for _ in range(2)]
    return " ".join(word for part in parts for word in part[: words // 2 + 1])[:600]


def main() -> None:
    """Measure both pages, print and store the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of each part")
    arguments = parser.parse_args()
    require_whole(parser, arguments.run)
    work = Path(tempfile.mkdtemp())
    about = {"machine": machine(), "versions": versions()}
    try:
        big = large(arguments.run, work / "runs" / "large")
        most = large(arguments.run, work / "runs" / "most", queries=100_000, trials=2)
        rows = {"real": made(arguments.run), "large": made(big), "100,000 queries": made(most, repeats=1)}
        with browsing() as browser:
            rows["real"] |= opened(browser, arguments.run)
            rows["large"] |= opened(browser, big)
            rows["100,000 queries"] |= opened(browser, most)
            walked = walk(browser, arguments.run, arguments.pictures)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    command = f"python benchmarks/report.py --run runs/{arguments.run.name}"
    about |= {"name": "report", "command": command, "seeds": [0]}
    write_json(
        RESULTS / "report.json",
        {**about, "run": arguments.run.name, "rows": rows, "walk": walked, "claims": claims(rows, walked)},
    )
    for entry in claims(rows, walked):
        print("holds" if entry["holds"] else "FAILS", entry["claim"], entry["measured"], entry["unit"])
    for missing in lacking(walked["parts"]):
        print("not shown:", missing)


def claims(rows: dict[str, Any], walked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the claims about the page of a real run and of large ones."""
    real, big, most = rows["real"], rows["large"], rows["100,000 queries"]
    size, asked = "10,000 queries and 500 trials", sum(len(row["requests_outside"]) for row in rows.values())
    whole = sum(all(checks.values()) for checks in walked["parts"].values())

    def opens(row: dict[str, Any]) -> float:
        return statistics.median(row["open_ms"])

    def slowest(row: dict[str, Any], *clicks: str) -> float:
        return max(statistics.median(row["click_ms"][name]) for name in clicks)

    return [
        claim("a real run: the page opens", opens(real), 2000, "ms", lower=True),
        claim("a real run: a click is answered", slowest(real, *CLICKS), 100, "ms", lower=True),
        claim("a real run: its size", real["bytes"], LARGEST, "bytes", lower=True),
        claim("a real run: it is made", statistics.median(real["make_seconds"]), 10, "s", lower=True),
        claim(f"{size}: the page opens", opens(big), 5000, "ms", lower=True),
        claim(f"{size}: a click is answered", slowest(big, *CLICKS), 100, "ms", lower=True),
        claim(f"{size}: its size", big["bytes"], LARGEST, "bytes", lower=True),
        claim(f"{size}: it is made", statistics.median(big["make_seconds"]), 10, "s", lower=True),
        claim("100,000 queries: the page opens", opens(most), 5000, "ms", lower=True),
        claim("100,000 queries: a row is opened", slowest(most, "query", "trial"), 100, "ms", lower=True),
        claim("100,000 queries: a filter is applied", slowest(most, "filter"), 100, "ms", lower=True),
        claim("100,000 queries: its size", most["bytes"], LARGEST, "bytes", lower=True),
        claim("requests that leave a page", asked, 0, "requests", lower=True),
        claim("serious or critical findings of axe", len(walked["axe"]), 0, "findings", lower=True),
        claim(
            "parts (a) to (h) of a real run's page that show all they must", whole, len(walked["parts"]) - 1, "parts"
        ),
    ]


if __name__ == "__main__":
    main()
