"""The LLM client: many calls at a time, the embedded LLM's slots, and a provider that fails in nine ways.

    python benchmarks/llm.py [--parts wide embedded faults]

``wide``: 1,000 calls, 64 at a time, to a local server that answers in 200 ms, and the same again from the cache.
``embedded``: queries for passages and several samples of each, one at a time as before and in the slots; the texts must
be the same, in another order and after a restart too. ``faults``: a server of which 30 % of the answers fail. A part
that is not run keeps its numbers in the record.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from _record import RESULTS, claim, machine, save, show, versions

HERE = Path(__file__).parent
PROGRAMS = HERE.parent / "programs"
CALLS, WIDTH, SECONDS = 1000, 64, 0.2
FAULTS, PAIRS, PATIENCE = 0.3, 200, 2.0
INPUTS = {"task": "A complaint -> the finding", "query_type": "everyday wording", "examples": ""}
TIGHT = 0.01
"""US dollars of the second run against the faulty server: about a third of what all calls cost."""


@contextmanager
def stub(*flags: str) -> Iterator[str]:
    """Run the stub in a process of its own; yields its address."""
    process = subprocess.Popen([sys.executable, str(HERE / "_llm_stub.py"), *flags], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.kill()
        process.wait()


def counts(address: str) -> dict[str, int]:
    """Return what the stub counted."""
    with urllib.request.urlopen(f"{address}/counts") as reply:  # noqa: S310 - our own loopback address
        found: dict[str, int] = json.loads(reply.read())
    return found


def remote(address: str, folder: Path, *, width: int, usd: float | None = None, patience: float | None = None) -> Any:
    """Open a client to the stub; by its name the model is small and gets the plain format."""
    from stm_agent.llm.budget import Budget
    from stm_agent.llm.open import open_client
    from stm_agent.llm.options import LlmOptions

    options = LlmOptions(model="openai/stub-1b", api_base=f"{address}/v1", price_in=1, price_out=2, width=width)
    budget = Budget(usd=usd)
    return open_client(
        options, cache=folder / "llm", ledger=folder / "llm.jsonl", budget=budget, api_key="stub", patience=patience
    )


def wide(work: Path) -> dict[str, Any]:
    """Ask 1,000 times, 64 at a time, and again."""
    from stm_agent.llm.parallel import in_parallel

    runs = []
    with stub("--seconds", str(SECONDS)) as address:
        # Libraries are imported and the first connection is made before the clock runs.
        with closing(remote(address, work / "warm", width=1)) as client:
            client.complete([{"role": "user", "content": "hello"}])
        before = counts(address)["requests"]
        for _ in range(2):
            with closing(remote(address, work, width=WIDTH)) as client:
                began, cpu = time.monotonic(), time.process_time()
                chats = ([{"role": "user", "content": f"passage {number}"}] for number in range(CALLS))
                answers = list(in_parallel(client.complete, chats, width=client.threads))
                after = counts(address)
                runs.append(
                    {
                        "seconds": time.monotonic() - began,
                        "cpu_seconds": time.process_time() - cpu,
                        "requests": after["requests"] - before,
                        "answers": len(answers),
                    }
                )
                before = after["requests"]
    return {"first": runs[0], "second": runs[1], "ideal": math.ceil(CALLS / WIDTH) * SECONDS}


def passages(count: int) -> list[str]:
    """Return definitions of the Human Phenotype Ontology."""
    from stm_agent.assets.pull import pull

    texts = re.findall(r'^def: "(.{60,300}?)"', pull("hpo").read_text(encoding="utf-8"), re.MULTILINE)
    return texts[:: len(texts) // count][:count]


def embedded_texts(work: Path, name: str, options: argparse.Namespace, *, slots: int, order: int, cache: bool) -> Any:
    """Write queries with the shipped program; return texts by request, and what they took."""
    from stm_agent.llm.budget import Budget
    from stm_agent.llm.checking import TextCheck
    from stm_agent.llm.client import LlmClient
    from stm_agent.llm.embedded import EmbeddedProvider
    from stm_agent.llm.facts import model_facts
    from stm_agent.llm.options import LlmOptions
    from stm_agent.synthesize.program import Writer, WriteRequest

    class Plain(EmbeddedProvider):
        def _parameters(self) -> Any:
            parameters = super()._parameters()
            parameters.cache_prompt = cache
            return parameters

    llm = LlmOptions(model=options.model, max_tokens=32, width=4 * slots if slots > 1 else 1)
    folder = work / name
    provider = Plain(options.model, slots=slots)
    client = LlmClient(
        llm, provider, cache=folder / "llm", ledger=folder / "l.jsonl", budget=Budget(), facts=model_facts(llm)
    )
    with closing(client):
        # The server is started before the clock runs.
        client.complete([{"role": "user", "content": "hello"}], max_tokens=1)
        asked = [
            WriteRequest(TextCheck("query", (text,)), {**INPUTS, "passage": text}, sample)
            for text in passages(options.passages)
            for sample in range(options.samples)
        ][::order]
        writer = Writer(PROGRAMS / "queries.py", client, "query")
        began, cpu = time.monotonic(), time.process_time()
        drafts = [first.text for first, *_ in writer.produce_all(asked)]
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    texts = {f"{request.sample} {request.inputs['passage']}": text for request, text in zip(asked, drafts, strict=True)}
    return texts, {"texts": len(texts), "seconds": seconds, "cpu_seconds": cpu, "a_minute": 60 * len(texts) / seconds}


def embedded(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compare one text at a time, without what was read before, with the slots."""
    ways = {
        "one at a time": {"slots": 1, "order": 1, "cache": False},
        "slots": {"slots": 4, "order": 1, "cache": True},
        "slots, in reverse order after a restart": {"slots": 4, "order": -1, "cache": True},
    }
    texts, found = {}, {}
    for name, way in ways.items():
        texts[name], found[name] = embedded_texts(work, name, options, **way)
        sys.stderr.write(f"{name}: {found[name]}\n")
    first = texts["one at a time"]
    for name, written in texts.items():
        found[name]["other_texts"] = sum(written[request] != text for request, text in first.items())
    return {"model": options.model, "passages": options.passages, "samples": options.samples, "ways": found}


def faults(work: Path) -> dict[str, Any]:
    """Write a negative for each of 200 pairs while 30 % of the answers fail; then once more with a tight cap."""
    from stm_agent.domain.data import Pair
    from stm_agent.domain.spec import SynthesizeSpec
    from stm_agent.files import read_jsonl
    from stm_agent.synthesize.negatives import synthesize_negatives

    pairs = [
        Pair(
            str(n), f"what is known about case {n}?", f"The case {n} is about the knees of people who run.", "s", str(n)
        )
        for n in range(PAIRS)
    ]
    found = {}
    for name, usd in (("loose cap", 10.0), ("tight cap", TIGHT)):
        folder = work / name
        flags = ("--seconds", "0.05", "--faults", str(FAULTS), "--silence", str(2 * PATIENCE))
        with stub(*flags) as address, closing(remote(address, folder, width=16, usd=usd, patience=PATIENCE)) as client:
            written = synthesize_negatives(
                pairs, {}, task="A question -> the passage that answers it", program=PROGRAMS / "hard_negatives.py",
                client=client, spec=SynthesizeSpec(), folder=folder / "out",
            )  # fmt: skip
            given, spent = counts(address), client.budget.spent
        report = written.report
        found[name] = {
            "asked": report.asked,
            "accepted": report.written,
            "refused": dict(report.refused),
            "ended_by": report.ended_by,
            "usd": spent.usd,
            "cap": usd,
            "calls": spent.calls,
            "requests": given.pop("requests"),
            "given": given,
            "ledger_calls": sum(entry["tries"] for entry in read_jsonl(folder / "llm.jsonl")),
        }
    return found


def claims(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every number against its target."""
    made = []
    if found := parts.get("wide"):
        first, second = found["first"], found["second"]
        made += [
            claim(
                "1,000 calls of 200 ms, 64 at a time: seconds, times the ideal",
                first["seconds"] / found["ideal"],
                1.3,
                "ratio",
                lower=True,
            ),
            claim("the same 1,000 calls again: requests", second["requests"], 0, "requests", lower=True),
        ]
    if found := parts.get("embedded"):
        ways = found["ways"]
        slots, one = ways["slots"], ways["one at a time"]
        other = sum(way["other_texts"] for way in ways.values())
        made += [
            claim(
                "embedded LLM: texts a minute, times those of one at a time",
                slots["a_minute"] / one["a_minute"],
                3,
                "ratio",
            ),
            claim("embedded LLM: texts that differ from one at a time", other, 0, "texts", lower=True),
        ]
    if found := parts.get("faults"):
        loose, tight = found["loose cap"], found["tight cap"]
        missing = PAIRS - loose["accepted"] - sum(loose["refused"].values())
        made += [
            claim("30 % faults: rows neither accepted nor counted with a reason", missing, 0, "rows", lower=True),
            claim(
                "30 % faults: calls in the ledger that the server did not count, or the reverse",
                abs(loose["ledger_calls"] - loose["requests"]),
                0,
                "calls",
                lower=True,
            ),
            claim("30 % faults, tight cap: US dollars over the cap", tight["usd"] - tight["cap"], 0, "USD", lower=True),
        ]
    return made


def main() -> None:
    """Run the parts asked for, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("wide", "embedded", "faults"))
    parser.add_argument("--passages", type=int, default=24, help="passages of the embedded part")
    parser.add_argument("--samples", type=int, default=2, help="samples for each passage")
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "llm")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    path, before = RESULTS / "llm.json", machine()
    parts: dict[str, Any] = json.loads(path.read_text())["parts"] if options.parts and path.exists() else {}
    made = {
        "wide": lambda: wide(options.work / "wide"),
        "embedded": lambda: embedded(options.work / "embedded", options),
        "faults": lambda: faults(options.work / "faults"),
    }
    for name in options.parts or made:
        load = round(os.getloadavg()[0], 2)
        parts[name] = {**made[name](), "load_before": load}
    record = {
        "name": "llm",
        "command": "python benchmarks/llm.py",
        "machine": before,
        "versions": versions(),
        "seeds": [0],
        "parts": parts,
        "claims": claims(parts),
    }
    save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
