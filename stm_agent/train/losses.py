"""Losses by name, all of sentence-transformers; those on vectors get them from one packed forward of all columns.

Queries are short and passages long, so a forward for each column would compute much padding. The cached losses
(GradCache) and the guided losses run their own forwards, which they need one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from stm_agent.backbone.packed import PackedTransformer
from stm_agent.domain.spec import ExpertSpec, TrainSpec
from stm_agent.errors import ConfigError
from stm_agent.train.aids import Aids
from stm_agent.train.processes import gathers, processes

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FAR = 1e3
"""Dot product, negated, of a query with a cell that holds no candidate: its softmax is exactly 0."""
GRADE_TEMPERATURE = 0.2
"""Softmax temperature of the grades: a passage of half the positive's grade gets a twelfth of its share."""

Compute = Callable[[list[Tensor], Tensor], Tensor]
"""Makes a scalar of the columns' vectors, each ``[rows, dimension]``, and row numbers."""


def make_loss(model: SentenceTransformer, expert: ExpertSpec, train: TrainSpec, aids: Aids) -> nn.Module:
    """Return the loss an expert names, ready for the trainer; its labels are row numbers.

    Args:
        model: The model in training.
        expert: ``loss``, ``alias_weight``, ``teacher_weight`` and ``anchor_weight``.
        train: ``scale``, ``mini_batch``, ``matryoshka``, ``teacher_temperature`` and ``infonce_share``.
        aids: What the loss needs in addition to the model.

    Raises:
        ConfigError: A Matryoshka dimension the model does not have.
    """
    makers: dict[str, Callable[..., nn.Module]] = {
        "infonce": _infonce,
        "cached-infonce": _cached_infonce,
        "gist": _gist,
        "cached-gist": _gist,
        "margin": _margin,
        "listwise": _listwise,
        "distil": _distil,
    }
    loss = makers[expert.loss](model, expert, train, aids)
    if not train.matryoshka:
        return loss
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    longest, has = max(train.matryoshka), int(model.get_embedding_dimension() or 0)
    if longest > has:
        raise ConfigError(f"train: matryoshka asks for {longest} dimensions, the backbone has {has}; lower it")
    # The whole vector is what dev, the merge and the exported model use.
    return MatryoshkaLoss(model, loss, sorted({*train.matryoshka, has}))


class OneForward(nn.Module):
    """A loss on vectors, fed by one forward of all columns; its arithmetic is sentence-transformers'.

    Attributes:
        model: The model in training; the trainer replaces it by its wrapped self.
    """

    def __init__(self, model: SentenceTransformer, compute: Compute) -> None:
        """Take ``compute(columns' vectors, row numbers)``; what it holds is registered by the caller."""
        super().__init__()
        self.model = model
        self.compute = compute

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Return the loss of one batch, a scalar."""
        return self.compute(_embed(self.model, list(sentence_features)), labels)


def _infonce(model: SentenceTransformer, expert: ExpertSpec, train: TrainSpec, aids: Aids) -> nn.Module:
    """InfoNCE, optionally also between aliases, passages and queries, and with a distance to a teacher's vectors.

    With ``alias_weight`` the last column is another name of the positive, so a passage is encoded once and has two
    queries. The distance to the teacher is the cosine of EmbedDistillLoss.
    """
    from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss, MultipleNegativesRankingLoss
    from sentence_transformers.util import cos_sim

    gather = gathers(expert, train)
    similarity = cos_sim if expert.negatives.shared else partial(own_negatives_alone, gather=gather)
    inner = MultipleNegativesRankingLoss(
        model, scale=train.scale, similarity_fct=similarity, gather_across_devices=gather
    ).compute_loss_from_embeddings
    lesson = aids.lesson if expert.teacher_weight else None

    def contrast(parts: list[Tensor], labels: Tensor) -> Tensor:
        if not expert.alias_weight:
            return inner(parts, labels)
        query, *passages, alias = parts
        named = inner([alias, *passages], labels) + inner([query, alias], labels)
        return inner([query, *passages], labels) + expert.alias_weight * named

    if lesson is None:
        return OneForward(model, _anchored(contrast, model, expert, aids))
    distill = EmbedDistillLoss(model, "cosine")
    distill.projection = aids.mapping

    def taught(parts: list[Tensor], labels: Tensor) -> Tensor:
        distance = distill.compute_loss_from_embeddings(parts, lesson.targets(labels))
        return contrast(parts, labels) + expert.teacher_weight * distance

    loss = OneForward(model, _anchored(taught, model, expert, aids))
    loss.add_module("mapping", aids.mapping)
    return loss


def own_negatives_alone(queries: Tensor, passages: Tensor, *, gather: bool) -> Tensor:
    """Return cosines in which the hard negatives of other rows are -inf, so that a softmax leaves them out.

    Args:
        queries: ``[rows, dimension]``, those of this process.
        passages: ``[columns * all rows, dimension]``: the positives of all rows, then each column of hard negatives.
        gather: Whether the rows of the other processes are among all rows.
    """
    import torch
    from sentence_transformers.util import cos_sim

    here, rows = processes(), len(queries)
    whole, first = (rows * here.count, rows * here.rank) if gather else (rows, 0)
    columns = torch.arange(len(passages), device=queries.device)
    own = columns % whole == torch.arange(first, first + rows, device=queries.device)[:, None]
    scores: Tensor = cos_sim(queries, passages)
    return scores.masked_fill(~own & (columns >= whole), -torch.inf)


def _anchored(compute: Compute, model: SentenceTransformer, expert: ExpertSpec, aids: Aids) -> Compute:
    """Add the mean cosine distance from the backbone's vectors of the same texts; without a weight add nothing."""
    from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss

    if not expert.anchor_weight:
        return compute
    anchor = aids.anchor
    if anchor is None:
        raise ConfigError(f"expert {expert.name} has an anchor_weight and no vectors of its backbone")
    distance = EmbedDistillLoss(model, "cosine").compute_loss_from_embeddings

    def anchored(parts: list[Tensor], rows: Tensor) -> Tensor:
        return compute(parts, rows) + expert.anchor_weight * distance(parts, anchor.targets(rows))

    return anchored


def _cached_infonce(model: SentenceTransformer, expert: ExpertSpec, train: TrainSpec, _aids: Aids) -> nn.Module:
    """InfoNCE by GradCache (Gao et al. 2021, arXiv 2101.06983): memory of a mini-batch at any batch size."""
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    return CachedMultipleNegativesRankingLoss(
        model,
        scale=train.scale,
        mini_batch_size=train.mini_batch,
        gather_across_devices=gathers(expert, train),
    )


def _gist(model: SentenceTransformer, expert: ExpertSpec, train: TrainSpec, aids: Aids) -> nn.Module:
    """InfoNCE without in-batch negatives that a guide scores above the positive (arXiv 2402.16829)."""
    from sentence_transformers.sentence_transformer.losses import CachedGISTEmbedLoss, GISTEmbedLoss

    if aids.guide is None:
        raise ConfigError(f"loss {expert.loss} needs a guide")
    # Only queries against passages, as in the other losses; the paper also compares anchors with anchors.
    options: dict[str, Any] = {
        "temperature": 1 / train.scale,
        "contrast_anchors": False,
        "contrast_positives": False,
        "gather_across_devices": gathers(expert, train),
    }
    if expert.loss == "gist":
        return GISTEmbedLoss(model, aids.guide, **options)
    return CachedGISTEmbedLoss(model, aids.guide, mini_batch_size=train.mini_batch, **options)


def _margin(model: SentenceTransformer, expert: ExpertSpec, _train: TrainSpec, aids: Aids) -> nn.Module:
    """Margins between a positive and its negatives, regressed on a teacher's margins (MarginMSE, arXiv 2010.02666)."""
    from sentence_transformers.sentence_transformer.losses import MarginMSELoss

    lesson = aids.lesson
    if lesson is None:
        raise ConfigError("loss margin needs a teacher's lesson")
    inner = MarginMSELoss(model).compute_loss_from_embeddings
    return OneForward(model, lambda parts, rows: inner(parts, lesson.scores(rows).to(parts[0].device)))


def _listwise(model: SentenceTransformer, _expert: ExpertSpec, train: TrainSpec, aids: Aids) -> nn.Module:
    """Kullback-Leibler distance from the softmax of a row's grades to that of the model's scores."""
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

    grades = aids.grades
    if grades is None:
        raise ConfigError("loss listwise needs the grades of its passages")
    temperature = 1 / train.scale
    inner = DistillKLDivLoss(model, student_temperature=temperature, teacher_temperature=GRADE_TEMPERATURE)

    def compute(parts: list[Tensor], rows: Tensor) -> Tensor:
        # sentence-transformers multiplies by the squared temperature, which at 1 / 50 would leave no gradient.
        return inner.compute_loss_from_embeddings(parts, grades[rows.cpu()].to(parts[0].device)) / temperature**2

    return OneForward(model, compute)


def _distil(model: SentenceTransformer, expert: ExpertSpec, train: TrainSpec, aids: Aids) -> nn.Module:
    """Kullback-Leibler distance from a teacher's softmax over each row's list, and a share of InfoNCE.

    The list is the positive and the row's candidates; InfoNCE compares the queries with the positives of the batch.
    """
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MultipleNegativesRankingLoss

    scores = aids.grades
    if scores is None:
        raise ConfigError("loss distil needs the teacher's scores of its candidates")
    temperature = 1 / train.scale
    inner = DistillKLDivLoss(
        model, student_temperature=temperature, teacher_temperature=train.teacher_temperature
    ).compute_loss_from_embeddings
    contrast = MultipleNegativesRankingLoss(
        model, scale=train.scale, gather_across_devices=gathers(expert, train)
    ).compute_loss_from_embeddings

    def compute(parts: list[Tensor], rows: Tensor) -> Tensor:
        query, positive, *candidates = parts
        targets = scores[rows.cpu()].to(query.device)
        # -inf times 0 is not a number, so the score of an empty cell is far below all others, but finite.
        empty = targets[:, 1:].isneginf().unsqueeze(2).unbind(1)
        masked = [(-FAR * query.detach()).where(cell, part) for cell, part in zip(empty, candidates, strict=True)]
        distance = inner([query, positive, *masked], targets) / temperature**2
        return distance + train.infonce_share * contrast([query, positive], rows)

    return OneForward(model, _anchored(compute, model, expert, aids))


def _embed(model: SentenceTransformer, columns: list[dict[str, Tensor]]) -> list[Tensor]:
    """Return the vectors ``[rows, dimension]`` of each column, from one forward if the model packs."""
    from sentence_transformers.base.losses.merged_forward import embed_columns

    # A model wrapped for several devices hides its modules; the packed one is inside.
    packs = isinstance(getattr(model, "module", model)[0], PackedTransformer)
    # Padding a query to a passage's width costs nothing if only valid tokens are computed.
    return embed_columns(model, columns, separate_first=not packs)
