"""The annotation tool under load: import, page, search, and fifty people at once, on SQLite and on PostgreSQL.

    python benchmarks/annotate.py                                   # about 6 minutes on two cores
    python benchmarks/annotate.py --documents 1000000 --people 200 --seconds 300

Documents are made of words drawn by Zipf's law, about 100 each. Times are those a client of the REST API sees; the
server is a process of its own. Every person saves an entry again and again, twice at once from the same version: one of
the two must be taken, the other refused, and at the end every save that was taken must be there. PostgreSQL is started
by the benchmark, on loopback, where it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _record import claim, machine, save, show, versions

HERE = Path(__file__).parent
WORDS = 30_000


def texts(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield documents."""
    draws = random.Random(0)
    words = [
        "".join(draws.choice("bcdfghklmnprstvz") + draws.choice("aeiou") for _ in range(2 + n % 3))
        for n in range(WORDS)
    ]
    shares = list(itertools.accumulate(1 / (n + 10) for n in range(WORDS)))
    for number in range(count):
        text = " ".join(draws.choices(words, cum_weights=shares, k=100))
        yield f"d{number}", {"title": text[:30], "text": text, "year": 1950 + number % 70}


@contextlib.contextmanager
def postgres() -> Iterator[str | None]:
    """Start a PostgreSQL of our own; None where there is none to start."""
    path = HERE.parent / "tests" / "annotate" / "conftest.py"
    spec = importlib.util.spec_from_file_location("annotate_conftest", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    programs = module._programs()
    if programs is None:
        yield None
        return
    yield from module.run_postgres(programs)


def serve(url: str, port: int, work: Path) -> subprocess.Popen[bytes]:
    """Start the server in a process of its own and wait until it answers."""
    flags = ["--database", url, "--port", str(port), "--team", "--workspace", str(work)]
    running = subprocess.Popen([sys.executable, "-m", "stm_agent", "annotate", *flags], stderr=subprocess.DEVNULL)
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return running
        time.sleep(0.1)
    sys.exit("the server does not answer")


def prepare(url: str, work: Path, options: argparse.Namespace) -> tuple[float, list[str]]:
    """Import the documents as ``annotate import`` does; return the seconds and the people's tokens."""
    import json

    from stm_agent.annotate.incoming import read_incoming
    from stm_agent.annotate.services import assigning, moving, people, projects
    from stm_agent.annotate.tool import open_tool

    file = work / "documents.jsonl"
    if not file.exists():
        rows = (json.dumps({"_id": key, **fields}) + "\n" for key, fields in texts(options.documents))
        with file.open("w") as stream:
            stream.writelines(rows)
    tool = open_tool(work, url=url, team=True)
    tokens = []
    with tool.database.writing() as session:
        ada = people.actor_of(people.add(session, name="Ada", role="admin", password=None))
        project = projects.create(session, ada, name="Load", template="qa", key="load")
    began = time.monotonic()
    incoming = read_incoming(file)
    with tool.database.writing() as session:
        report = moving.bring_in(session, ada, projects.find(session, ada, "load"), incoming)
    seconds = time.monotonic() - began
    assert report.added == options.documents
    with tool.database.writing() as session:
        project = projects.find(session, ada, "load")
        for number in range(options.people):
            one = people.add(session, name=f"p{number}", role="annotator", password=None)
            assigning.add_member(session, ada, project, one.name)
            tokens.append(people.begin(session, one)["access_token"])
    tool.close()
    return seconds, tokens


async def timed(client: Any, path: str, **asked: Any) -> float:
    """Return the seconds of one request."""
    began = time.monotonic()
    answer = await client.get(path, params=asked)
    answer.raise_for_status()
    return time.monotonic() - began


async def measure(port: int, tokens: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Time page and search alone, then let everybody work."""
    import httpx

    base = f"http://127.0.0.1:{port}/api/v1"
    limits = httpx.Limits(max_connections=options.people + 10)
    async with httpx.AsyncClient(base_url=base, timeout=120, limits=limits) as client:
        client.headers["authorization"] = f"Bearer {tokens[0]}"
        opened = await timed(client, "/projects/load/documents")
        places = [n * 997 % options.documents for n in range(200)]
        # The server has just begun to index 100,000 documents.
        meanwhile = [await timed(client, "/projects/load/documents", offset=place) for place in places[:50]]
        first = await timed(client, "/projects/load/search", q="warm up")
        pages = [await timed(client, "/projects/load/documents", offset=place) for place in places]
        words = [fields["text"].split() for _, fields in texts(300)]
        asked = [" ".join(random.Random(n).sample(words[n], 3)) for n in range(300)]
        searches = sorted([await timed(client, "/projects/load/search", q=one) for one in asked])
        whole = await crowd(client, tokens, options)
    return {
        "first_page_seconds": opened,
        "page_while_indexing_seconds": sorted(meanwhile)[len(meanwhile) * 95 // 100],
        "page_open_seconds": sorted(pages)[len(pages) * 95 // 100],
        "first_search_seconds": first,
        "search_p50_seconds": searches[len(searches) // 2],
        "search_p95_seconds": searches[len(searches) * 95 // 100],
        **whole,
    }


async def crowd(client: Any, tokens: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Let everybody save their own entries, search, and judge; return counts, and what was lost."""
    ends = time.monotonic() + options.seconds
    latencies: list[float] = []
    failures: list[str] = []

    async def ask(method: str, path: str, token: str, **more: Any) -> Any:
        began = time.monotonic()
        answer = await client.request(method, path, headers={"authorization": f"Bearer {token}"}, **more)
        latencies.append(time.monotonic() - began)
        if answer.status_code not in (200, 201, 409):
            failures.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    async def work(number: int, token: str) -> tuple[str, list[int], int]:
        draws = random.Random(number)
        made = (await ask("POST", "/projects/load/entries", token)).json()
        kept: list[int] = []
        count = 0
        while time.monotonic() < ends:
            count += 1
            # Two saves from the same version at once: exactly one may be taken.
            path = f"/projects/load/entries/{made['key']}"
            notes = [" ".join(map(str, [*kept, 2 * count + side])) for side in (0, 1)]
            bodies = [{"version": made["version"], "changes": {"notes": one}} for one in notes]
            both = await asyncio.gather(*(ask("PATCH", path, token, json=one) for one in bodies))
            taken = [side for side, answer in enumerate(both) if answer.status_code == 200]
            if len(taken) != 1:
                failures.append(f"{len(taken)} of two saves of one version were taken")
            for side in taken:
                kept.append(2 * count + side)
                made = both[side].json()
            await ask("GET", f"/projects/load/documents/d{draws.randrange(options.documents)}", token)
            await asyncio.sleep(draws.uniform(0.2, 0.8))
        seen = (await ask("GET", f"/projects/load/entries/{made['key']}", token)).json()
        lost = len(set(kept) - set(map(int, seen["notes"].split())))
        return made["key"], kept, lost

    done = await asyncio.gather(*(work(number, token) for number, token in enumerate(tokens)))
    latencies.sort()
    return {
        "saves": sum(len(kept) for _, kept, _ in done),
        "lost": sum(lost for *_, lost in done),
        "failures": len(failures),
        "failure_examples": failures[:5],
        "requests": len(latencies),
        "request_p95_seconds": latencies[len(latencies) * 95 // 100],
    }


async def again(port: int, token: str) -> float:
    """Return the seconds until the first search of a server that has just started is answered."""
    import httpx

    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=120, headers=headers) as client:
        return await timed(client, "/projects/load/search", q="warm up")


def one(name: str, url: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one database."""
    seconds, tokens = prepare(url, work, options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told: dict[str, Any] = {}
    for act in (lambda: measure(port, tokens, options), lambda: again(port, tokens[0])):
        server = serve(url, port, work)
        try:
            found = asyncio.run(act())
        finally:
            server.terminate()
            server.wait(20)
        told |= found if isinstance(found, dict) else {"first_search_after_restart_seconds": found}
    sys.stderr.write(f"{name}: {told}\n")
    return {"import_seconds": seconds, **told}


def claims(name: str, told: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one claim for each number."""
    what = f"{name}, {options.documents:,} documents"
    lost = told["lost"] + told["failures"]
    search = 1000 * told["search_p95_seconds"]
    first = 1000 * told["first_page_seconds"]
    return [
        claim(f"{what}: import", told["import_seconds"], 120, "seconds", lower=True),
        claim(f"{what}: the first page after the import", first, 300, "ms", lower=True),
        claim(f"{what}: a page of documents, p95", 1000 * told["page_open_seconds"], 300, "ms", lower=True),
        claim(
            f"{what}: a page while they are indexed, p95",
            1000 * told["page_while_indexing_seconds"],
            300,
            "ms",
            lower=True,
        ),
        claim(f"{what}: BM25 search, p95", search, 100, "ms", lower=True, p50=1000 * told["search_p50_seconds"]),
        claim(
            f"{name}: updates lost by {options.people} people in {options.seconds} s",
            lost,
            0,
            "updates",
            lower=True,
            saves=told["saves"],
        ),
    ]


def main() -> None:
    """Measure both databases and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    before = machine()
    work = Path(tempfile.mkdtemp())
    results: dict[str, Any] = {}
    try:
        (work / "programs").mkdir()
        (work / "prompts").mkdir()
        results["SQLite"] = one("SQLite", f"sqlite:///{work / 'load.db'}", work, options)
        with postgres() as url:
            if url is not None:
                results["PostgreSQL"] = one("PostgreSQL", url, work, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    made = [entry for name, told in results.items() for entry in claims(name, told, options)]
    save(
        {
            "name": "annotate",
            "command": f"python benchmarks/annotate.py --documents {options.documents} --people {options.people} "
            f"--seconds {options.seconds}",
            "machine": {**before, "cores_seen": os.cpu_count()},
            "versions": versions(),
            "seeds": [0],
            "results": results,
            "claims": made,
        }
    )
    show(made)


if __name__ == "__main__":
    main()
