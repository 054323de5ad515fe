"""Known positives planted among mined negatives: does the audit find them, and does its interval cover their rate?

    python benchmarks/audit.py --data data/pubmedqa                  # 10 draws, minutes on one core
    python benchmarks/audit.py --data data/pubmedqa --data data/medquad --queries 600 --documents 0
    python benchmarks/audit.py --data data/pubmedqa --one --hide 0.4 # as if every query had one judged passage

A collection with several judged passages a query is needed. Each draw hides a share of the judgements: the hidden
passages are then mined as negatives, like those that nobody judged. Mining and audit are the product's, on BM25 and
all-MiniLM-L6-v2. Beside the audit stand what mining's margin alone leaves out, and the audit with BM25 alone. With
``--one`` a query keeps one judged passage; a share of the others is hidden, and the rest is taken out of the corpus.

A passage is found if it does not stay a negative. The planted share is the truth as far as the collection's judgements
are complete; what is relevant and was never judged makes the estimate too high by it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import claim, machine, save, show, versions

LEAST = 2
"""Judged passages a query that are needed to hide one and know another."""


def read_data(folder: Path, options: argparse.Namespace) -> tuple[dict[str, str], dict[str, str], dict[str, list[str]]]:
    """Return passages, queries and the judged passages of train queries that have several."""
    from stm_agent.domain.build import build_domain_data
    from stm_agent.domain.spec import BeirCollection
    from stm_agent.domain.text import share

    data = build_domain_data(BeirCollection(kind="beir", path=str(folder.resolve())), Path())
    judged: dict[str, list[str]] = {}
    queries: dict[str, str] = {}
    ids = {text: passage for passage, text in data.pool.items()}
    for source in data.sources.values():
        for pair in source:
            queries[pair.group] = pair.query
            if pair.positive in ids and ids[pair.positive] not in judged.setdefault(pair.group, []):
                judged[pair.group].append(ids[pair.positive])
    several = sorted((query for query in judged if len(judged[query]) >= LEAST), key=share)[: options.queries]
    relevant = {passage for query in several for passage in judged[query]}
    order = sorted(data.pool, key=lambda passage: (passage not in relevant, share(passage)))
    pool = {
        passage: data.pool[passage]
        for passage in order[: max(options.documents, len(relevant)) if options.documents else None]
    }
    return pool, {query: queries[query] for query in several}, {query: judged[query] for query in several}


def plant_beside_one(
    judged: dict[str, list[str]], share_hidden: float, seed: int
) -> tuple[dict[str, list[str]], set[Any], set[str]]:
    """Leave one judgement of a query and hide a share of the others; return these too, and passages to take out."""
    import numpy as np

    generator = np.random.default_rng(seed)
    left = {query: [passages[int(generator.integers(len(passages)))]] for query, passages in judged.items()}
    others = [(query, passage) for query, row in judged.items() for passage in row if passage not in left[query]]
    hidden = {pair for pair in others if generator.random() < share_hidden}
    needed = {passage for row in left.values() for passage in row} | {passage for _, passage in hidden}
    return left, hidden, {passage for _, passage in others} - needed


def plant(
    judged: dict[str, list[str]], share_hidden: float, seed: int
) -> tuple[dict[str, list[str]], set[Any], set[str]]:
    """Hide a share of the judgements, never the last one of a query; return those left and (query, passage) hidden."""
    import numpy as np

    generator = np.random.default_rng(seed)
    left, hidden = {}, set()
    for query, passages in judged.items():
        drawn = [passage for passage in passages if generator.random() < share_hidden]
        if len(drawn) == len(passages):
            drawn = drawn[1:]
        left[query] = [passage for passage in passages if passage not in drawn]
        hidden |= {(query, passage) for passage in drawn}
    return left, hidden, set()


def one_draw(
    pool: dict[str, str], queries: dict[str, str], judged: dict[str, list[str]], seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Plant, mine and audit once; return recall, precision, and the estimated and the true rates."""
    from stm_agent.domain.data import Pair
    from stm_agent.domain.spec import AuditSpec, MineSpec
    from stm_agent.evaluate.baselines import static_encoder
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.mine.evidence import Found, list_suspects, weigh
    from stm_agent.mine.families import families_of
    from stm_agent.mine.negatives import mine
    from stm_agent.mine.prompted import PromptedEncoder
    from stm_agent.mine.score_teachers import BiEncoderTeacher
    from stm_agent.mine.verdicts import audit

    left, hidden, gone = (plant_beside_one if options.one else plant)(judged, options.hide, seed)
    pool = {name: text for name, text in pool.items() if name not in gone}
    pairs = [
        Pair(f"{query}:{passage}", queries[query], pool[passage], "train", query)
        for query, passages in left.items()
        for passage in passages
    ]
    groups = {query: frozenset(passages) for query, passages in left.items()}
    encoder = PromptedEncoder(static_encoder("embedded:all-minilm-l6-v2"), cache=EmbeddingCache(options.cache))
    mined = mine(pairs, pool, groups, spec=MineSpec(documents=0), encoder=encoder)
    found = Found(negatives=mined.negatives, doubtful=mined.doubtful, relevant=mined.relevant, written={})
    suspects = list_suspects(pairs, found)
    results: dict[str, Any] = {}
    for name, used in (("bm25 and minilm", encoder), ("bm25", None)):
        teacher = BiEncoderTeacher(used) if used else None
        began = time.monotonic()
        families = families_of(weigh(pairs, suspects, pool, teacher=teacher, encoder=used))
        audited = audit(families, AuditSpec(), {})
        results[name] = {**measure(audited, families[0], hidden), "seconds": round(time.monotonic() - began, 2)}
    return {"seed": seed, "hidden": len(hidden), **results}


def measure(audited: Any, family: Any, hidden: set[Any]) -> dict[str, Any]:
    """Return how the verdicts and rates of a draw compare with what was planted."""
    rows = [
        (verdict, (verdict.suspect.pair.group, verdict.suspect.passage.id) in hidden) for verdict in audited.verdicts
    ]
    planted = [verdict for verdict, is_planted in rows if is_planted]
    flagged = [is_planted for verdict, is_planted in rows if verdict.decision != "negative"]
    relabelled = [is_planted for verdict, is_planted in rows if verdict.decision == "relabelled"]
    refused = [is_planted for verdict, is_planted in rows if verdict.suspect.kind == "refused"]
    rates = {"all": estimate(family, rows, lambda verdict: True)}
    rates["before"] = estimate(family, rows, lambda verdict: verdict.suspect.kind != "refused")
    rates["after"] = estimate(
        family, rows, lambda verdict: verdict.suspect.kind != "refused" and verdict.decision == "negative"
    )
    return {
        "candidates": len(rows),
        "planted": len(planted),
        "found": sum(verdict.decision != "negative" for verdict in planted) / len(planted),
        "precision": sum(flagged) / max(len(flagged), 1),
        "flagged": len(flagged) / len(rows),
        "relabelled": len(relabelled),
        "relabelled_planted": sum(relabelled),
        "relabelled_precision": sum(relabelled) / len(relabelled) if relabelled else None,
        "margin_found": sum(refused) / len(planted),
        "margin_precision": sum(refused) / max(len(refused), 1),
        "margin_flagged": len(refused) / len(rows),
        "rates": rates,
    }


def estimate(family: Any, rows: list[Any], is_part: Any) -> dict[str, Any]:
    """Return the estimated rate among a part of the candidates, the planted one, and whether the interval covers it."""
    import numpy as np

    part = np.zeros(len(family.suspects), dtype=bool)
    part[family.candidates] = [is_part(verdict) for verdict, _ in rows]
    truth = float(np.mean([is_planted for verdict, is_planted in rows if is_part(verdict)]))
    rate = family.calibrated.rate(part)
    return {
        "truth": truth,
        "share": rate.share,
        "low": rate.low,
        "high": rate.high,
        "covers": rate.low <= truth <= rate.high,
    }


def summary(draws: list[dict[str, Any]], way: str) -> dict[str, Any]:
    """Return means over the draws of one way."""
    import numpy as np

    names = ("found", "precision", "flagged", "margin_found", "margin_precision", "margin_flagged", "seconds")
    means = {name: float(np.mean([draw[way][name] for draw in draws])) for name in names}
    relabelled = sum(draw[way]["relabelled"] for draw in draws)
    good = sum(draw[way]["relabelled_planted"] for draw in draws)
    covered = {part: sum(draw[way]["rates"][part]["covers"] for draw in draws) for part in ("all", "before", "after")}
    return {
        **means,
        "relabelled": relabelled,
        "relabelled_precision": good / relabelled if relabelled else None,
        "covered": covered,
    }


def claims_of(name: str, way: str, found: dict[str, Any], draws: int, *, one: bool) -> list[dict[str, Any]]:
    """Return the claims on one collection; with one judgement a query few passages are left out, so none on these."""
    targets = {"candidates": "all", "negatives before the audit": "before"}
    rows = [
        *(
            []
            if one
            else [claim(f"{name}, {way}: planted positives that the audit finds", found["found"], 0.9, "share")]
        ),
        *(
            claim(
                f"{name}, {way}: draws of {draws} whose interval covers the planted rate of the {what}",
                found["covered"][part] / draws,
                0.899,
                "share",
            )
            for what, part in targets.items()
        ),
    ]
    if found["relabelled"]:
        text = f"{name}, {way}: precision of relabelled passages"
        rows.append(claim(text, found["relabelled_precision"], 0.9, "share", count=found["relabelled"]))
    return rows[1:] if one else rows


def main() -> None:
    """Plant, mine and audit in every draw, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="BEIR folder; may be repeated")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--hide", type=float, default=0.25, help="share of the judgements that is hidden")
    parser.add_argument("--one", action="store_true", help="leave one judgement of a query, hide of the others")
    parser.add_argument("--queries", type=int, default=400, help="train queries with several judged passages")
    parser.add_argument("--documents", type=int, default=4500, help="passages searched, judged ones first; 0: all")
    parser.add_argument("--cache", type=Path, help="folder of cached vectors (default: a temporary one)")
    options = parser.parse_args()
    options.cache = options.cache or Path(tempfile.mkdtemp())
    name = "audit_one" if options.one else "audit"
    record: dict[str, Any] = {"name": name, "machine": machine(), "versions": versions(), "collections": {}}
    record["options"] = {name: getattr(options, name) for name in ("draws", "hide", "queries", "documents")}
    named = " ".join(f"--data {folder.name}" for folder in options.data)
    flags = " ".join(f"--{name} {value}" for name, value in record["options"].items()) + " --one" * options.one
    record |= {"command": f"python benchmarks/audit.py {named} {flags}", "seeds": list(range(options.draws))}
    claims: list[dict[str, Any]] = []
    for folder in options.data:
        pool, queries, judged = read_data(folder, options)
        draws = []
        for seed in range(options.draws):
            draws.append(one_draw(pool, queries, judged, seed, options))
            sys.stderr.write(f"{folder.name}: draw {seed + 1} of {options.draws}\n")
        ways = {way: summary(draws, way) for way in ("bm25 and minilm", "bm25")}
        record["collections"][folder.name] = {
            "passages": len(pool),
            "queries": len(queries),
            "judged": sum(map(len, judged.values())),
            "ways": ways,
            "draws": draws,
        }
        claims += claims_of(folder.name, "bm25 and minilm", ways["bm25 and minilm"], options.draws, one=options.one)
    record["claims"] = claims
    save(record)
    show(claims)


if __name__ == "__main__":
    main()
