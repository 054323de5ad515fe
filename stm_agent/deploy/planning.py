"""What it costs to replace an old model in production: hours, dollars and disk of encoding a corpus again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from stm_agent.deploy.product import Product
from stm_agent.errors import ConfigError, DataError
from stm_agent.files import read_json
from stm_agent.merge.export_job import SIDES, Sides

BYTES = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes of a number of a stored vector."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """The plan.

    Attributes:
        passages: Passages of the corpus.
        texts_per_second: Speed of one machine.
        speed_from: Where that number comes from.
        hours: Hours on all machines together, divided by their number.
        dollars: What they cost; None: no rate was given.
        gib: Size of all vectors by number format, without the engine's own structures.
        gain: nDCG@10 on dev of the new model minus that of the start; None: not known.
        queries_alone: Whether only the side of queries was trained, so that an index that the start built can stay.
        passage_tokens: Tokens of each passage that such an index must have been built with; None: not known.
    """

    passages: int
    texts_per_second: float
    speed_from: str
    hours: float
    dollars: float | None
    gib: dict[str, float]
    gain: float | None
    queries_alone: bool
    passage_tokens: int | None

    def to_json(self) -> dict[str, object]:
        """Return the plan as JSON values."""
        return vars(self)


def plan_migration(
    product: Product, passages: int, *, dollars_per_hour: float | None, texts_per_second: float | None, machines: int
) -> Migration:
    """Return what encoding a corpus again costs.

    Args:
        product: The new model.
        passages: Passages of the corpus.
        dollars_per_hour: Price of one machine; None: unknown.
        texts_per_second: Speed of one machine; None: as the run measured it on this machine.
        machines: Machines that encode at the same time.

    Raises:
        ConfigError: The speed is not known.
        DataError: The model's folder does not state the length of its vectors.
    """
    report = _report(product)
    speed, source = texts_per_second, "--texts-per-second"
    if speed is None:
        speed = float(report.get("cost", {}).get("texts_per_second", {}).get("encoding", 0.0))
        source = "measured by the run on its own machine and corpus"
    if not speed:
        raise ConfigError("the speed of encoding is not known; give --texts-per-second")
    hours = passages / speed / 3600
    dev = report.get("dev")
    sides = _sides(Path(product.source))
    size = _dimension(Path(product.source))
    return Migration(
        passages=passages,
        texts_per_second=speed,
        speed_from=source,
        hours=hours / machines,
        dollars=None if dollars_per_hour is None else hours * dollars_per_hour,
        gib={name: passages * size * width / 2**30 for name, width in BYTES.items()},
        gain=dev["merged"] - dev["base"] if dev and report.get("state") == "finished" else None,
        queries_alone=report.get("state") == "finished" and sides.get("passages") == "start",
        passage_tokens=sides.get("tokens"),
    )


def _report(product: Product) -> dict[str, Any]:
    path = product.run / "report.json" if product.run else None
    return dict(read_json(path)) if path and path.is_file() else {}


def _sides(model: Path) -> Sides:
    """Return what encodes the passages of a model with a side of queries of its own; empty: it has one side."""
    path = model / SIDES
    return cast(Sides, read_json(path)) if path.is_file() else {}


def _dimension(model: Path) -> int:
    """Return the length of a model's vectors from its files, without loading it."""
    sizes = []
    for path in sorted(model.rglob("config.json")):
        config = read_json(path)
        for name in ("out_features", "embedding_dimension", "word_embedding_dimension", "hidden_size"):
            if isinstance(config.get(name), int):
                # A dense module after the pooling decides.
                sizes.append((name != "out_features", name == "hidden_size", int(config[name])))
                break
    if not sizes:
        raise DataError(f"{model} does not state the length of its vectors; give the folder of a model")
    return min(sizes)[2]
