"""The plan of a run: which start is adapted, at which length, and which experts a user's own data can train in time.

A domain file that lists experts keeps them; of a folder everything follows from the data, the machine and the minutes.
The plan is stored before anything is trained, so that a resumed run continues with the same one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.errors import BackboneError, ConfigError
from stm_agent.evaluate.corpus import storage_line
from stm_agent.files import read_json, sha256_text, write_json
from stm_agent.loop.context import RunContext
from stm_agent.loop.estimate import memory, model_size
from stm_agent.loop.lengths import FittedStart, fit_length, with_encoding
from stm_agent.loop.recipes import plan_experts
from stm_agent.loop.run_plan import RunPlan, Speed
from stm_agent.loop.starting import fit_to_start, race_starts
from stm_agent.merge.adapted import AdaptedModel

MINUTES = 30.0
"""Minutes that a run of a folder takes on a CPU if the user sets no ceiling."""

PASSAGES, QUERIES = 64, 128
"""Texts that are encoded to measure the machine."""

PLAN = "plan.json"
"""File of a run's folder with its plan."""


def settle_plan(context: RunContext) -> RunPlan | None:
    """Decide what a domain leaves open, once a run; the context's domain is the planned one afterwards.

    Returns:
        None if the domain leaves nothing open.

    Raises:
        BackboneError: No start can be loaded.
        ConfigError: The minutes are too few to train anything.
    """
    spec = context.spec
    if not spec.starts and not spec.planned and with_encoding(spec, context.data)[0].backbone == context.own_backbone:
        return None
    path = context.run.folder / PLAN
    if path.is_file():
        plan = RunPlan.from_json(read_json(path))
    else:
        with context.clock.working():
            plan = _new_plan(context)
        write_json(path, plan.to_json())
    context.failures += [failure for failure in plan.failures if failure not in context.failures]
    context.spec = plan.spec
    for reason in plan.reasons:
        context.note("plan", reason)
    return plan


def _new_plan(context: RunContext) -> RunPlan:
    asked = {start.model: start.max_length for start in (context.spec.backbone, *context.spec.starts)}
    spec, length_reasons = with_encoding(context.spec, context.data)
    context.spec = spec
    minutes, lost_before = context.minutes or MINUTES, len(context.failures)
    if spec.planned:
        with suppress(BackboneError):  # a start that cannot be loaded is the race's to report
            size, vectors = model_size(spec.backbone, spec.train), spec.backbone.vectors
            line, enough = memory(context.data, size, vectors)
            (context.note if enough else context.warn)("plan", line)
            if stored := storage_line(len(context.data.collection.documents), size.dimension, vectors):
                context.note("plan", stored)
    if spec.starts and spec.planned:
        refuse_too_few_minutes(spec, context.data, minutes, asked)
    start, race = race_starts(context) if spec.starts else (spec.backbone, ())
    fitted = fit_to_start(spec, start, context.own_backbone)
    plan = RunPlan(spec=fitted)
    if spec.planned:
        # On a slow machine the race takes a good part of the minutes.
        spent = context.clock.seconds() / 60
        plan = _planned(fitted, context.data, minutes=minutes, asked=asked, spent=spent)
    failures = tuple(context.failures[lost_before:])
    raced = spec if race else None
    return replace(plan, race=race, reasons=(*length_reasons, *plan.reasons), failures=failures, raced=raced)


def refuse_too_few_minutes(spec: DomainSpec, data: DomainData, minutes: float, asked: Mapping[str, int | None]) -> None:
    """Refuse minutes that are too few for every start, before they race; takes a few seconds if one fits.

    Args:
        spec: The planned domain.
        data: The domain's.
        minutes: For the whole run.
        asked: Start -> length that its user asked for; None: the plan's, which may be shortened.

    Raises:
        ConfigError: The minutes are too few even with the fastest start.
    """
    refused: list[tuple[float, ConfigError]] = []
    for start in (spec.backbone, *spec.starts):
        candidate = spec.model_copy(update={"backbone": start})
        try:
            fitted = _fitted(candidate, data, minutes=minutes, asked=asked)
        except BackboneError:
            # The race reports it.
            continue
        try:
            plan_experts(candidate, data, minutes=minutes, speed=fitted.speed)
        except ConfigError as error:
            refused.append((fitted.speed.passages, error))
        else:
            return
    if refused:
        raise max(refused, key=lambda entry: entry[0])[1]


def dry_plan(spec: DomainSpec, data: DomainData, *, minutes: float) -> RunPlan:
    """Return the plan of a domain that leaves only its experts and lengths open; nothing is stored.

    Raises:
        BackboneError: The start cannot be loaded.
        ConfigError: The minutes are too few to train anything.
    """
    if not spec.planned:
        return RunPlan(spec=spec)
    asked = {spec.backbone.model: spec.backbone.max_length}
    spec, reasons = with_encoding(spec, data)
    plan = _planned(spec, data, minutes=minutes, asked=asked)
    return replace(plan, reasons=(*reasons, *plan.reasons))


def _planned(
    spec: DomainSpec, data: DomainData, *, minutes: float, asked: Mapping[str, int | None], spent: float = 0.0
) -> RunPlan:
    fitted = _fitted(spec, data, minutes=minutes, asked=asked, spent=spent)
    spec = spec.model_copy(update={"backbone": fitted.spec})
    spec, reasons = plan_experts(spec, data, minutes=minutes, speed=fitted.speed, spent=spent)
    return RunPlan(spec=spec, reasons=(*filter(None, [fitted.reason]), *reasons), speed=fitted.speed)


def _fitted(
    spec: DomainSpec, data: DomainData, *, minutes: float, asked: Mapping[str, int | None], spent: float = 0.0
) -> FittedStart:
    """Return the backbone of a domain at the length that its user asked for, or else at one that the minutes allow."""
    if asked.get(spec.backbone.model):
        return FittedStart(spec=spec.backbone, speed=measured_speed(spec.backbone, data))
    return fit_length(spec, data, minutes=minutes, measure=measured_speed, spent=spent)


def measured_speed(start: BackboneSpec, data: DomainData) -> Speed:
    """Measure how fast a start encodes passages and queries on this machine; takes a few seconds."""
    encoder = AdaptedModel(start).open()
    texts = list(data.collection.texts.values())
    queries = [text for split in data.collection.splits.values() for text in split.queries.values()]

    def rate(texts: Sequence[str], count: int) -> float:
        chosen = sorted(texts, key=sha256_text)[:count]
        # The first forward allocates memory; it is not measured.
        encoder.encode(chosen[:4])
        began = time.monotonic()
        encoder.encode(chosen)
        return len(chosen) / max(time.monotonic() - began, 1e-6)

    passages = rate(texts, PASSAGES)
    return Speed(passages=passages, queries=rate(queries, QUERIES) if queries else passages)
