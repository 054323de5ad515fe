"""What a sentence-transformers user does: fine-tune all of a model's weights on the pairs, by the documented defaults.

    python benchmarks/_plain_finetune.py MODEL COLLECTION MINUTES SEED OUTPUT WORK

``MultipleNegativesRankingLoss`` on (query, relevant passage) with batches of 16 without duplicates and warm-up over a
tenth, as in the documentation's training overview. Two learning rates, each for the given minutes; the dev split
chooses, and the chosen model is scored on test. With 0 minutes the untouched model alone is scored. Writes OUTPUT as
JSON. Models that were trained before are taken from the folder WORK, so a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

RATES = (2e-5, 5e-5)
BATCH = 16
EPOCHS = 3
"""Epochs at most; the minutes may end training earlier."""


def train(model_name: str, pairs: dict[str, list[str]], rate: float, minutes: float, seed: int):
    """Fine-tune for some minutes; return the model, its steps and seconds."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import (
        BatchSamplers,
        SentenceTransformerTrainingArguments,
    )
    from transformers import TrainerCallback

    class StopInTime(TrainerCallback):
        """End training when the minutes are over."""

        def on_train_begin(self, args, state, control, **kwargs):
            self.began = time.monotonic()

        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = time.monotonic() - self.began > minutes * 60

    model = SentenceTransformer(model_name, device="cpu")
    steps_an_epoch = max(1, len(pairs["anchor"]) // BATCH)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=rate,
            warmup_steps=steps_an_epoch // 10,
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            save_strategy="no",
            report_to="none",
            seed=seed,
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(pairs),
            loss=MultipleNegativesRankingLoss(model),
            callbacks=[StopInTime()],
        )
        began = time.monotonic()
        trainer.train()
    return model, trainer.state.global_step, time.monotonic() - began


def main() -> None:
    """Score the untouched model and the fine-tuned one, and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("collection", type=Path)
    parser.add_argument("minutes", type=float)
    parser.add_argument("seed", type=int)
    parser.add_argument("output", type=Path)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.backbone.threads import choose_threads, set_threads
    from stm_agent.domain.beir import read_beir
    from stm_agent.evaluate.scoring import score_split

    set_threads(choose_threads()[0])
    collection = read_beir(options.collection)
    untouched = score_split(None, _untouched(options.model), collection.texts, collection.splits["test"], Instruction())
    result = {"untouched": untouched.ndcg_at_10, "untouched_per_query": dict(untouched.per_query)}
    if options.minutes:
        result |= fine_tuned(options)
    options.output.write_text(json.dumps(result))


def fine_tuned(options: argparse.Namespace) -> dict[str, Any]:
    """Train with both rates, choose on dev, score on test."""
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.embedded import resolve_model
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.domain.beir import read_beir
    from stm_agent.domain.sources import judged_domain_data
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.evaluate.scoring import score_split
    from stm_agent.files import read_json, whole_folder, write_json

    data = judged_domain_data(read_beir(options.collection))
    pairs = [pair for source in data.sources.values() for pair in source]
    columns = {"anchor": [pair.query for pair in pairs], "positive": [pair.positive for pair in pairs]}
    texts, splits = data.collection.texts, data.collection.splits
    rows, models = [], []
    cache = EmbeddingCache(options.work / "vectors")
    for rate in RATES:
        folder = options.work / f"rate-{rate:g}"
        if not folder.exists():
            model, steps, seconds = train(resolve_model(options.model), columns, rate, options.minutes, options.seed)
            with whole_folder(folder) as partial:
                model.save_pretrained(str(partial / "model"))
                write_json(partial / "trial.json", {"rate": rate, "steps": steps, "seconds": round(seconds, 1)})
        model = SentenceTransformer(str(folder / "model"), device="cpu")
        # The corpus is encoded once for dev and test.
        dev = score_split(cache, TextEncoder(model), texts, splits["dev"], Instruction())
        rows.append({**read_json(folder / "trial.json"), "dev": dev.ndcg_at_10})
        models.append(model)
    chosen = max(range(len(rows)), key=lambda number: rows[number]["dev"])
    test = score_split(cache, TextEncoder(models[chosen]), texts, splits["test"], Instruction())
    per_query = dict(test.per_query)
    return {"trials": rows, "chosen": rows[chosen]["rate"], "test": test.ndcg_at_10, "test_per_query": per_query}


def _untouched(name: str):
    from stm_agent.evaluate.baselines import static_encoder

    return static_encoder(name)


if __name__ == "__main__":
    main()
