"""What cannot be a backbone is named in one line, with what to do."""

from __future__ import annotations

import pytest

from stm_agent.backbone.embedded import resolve_model
from stm_agent.backbone.load import load_backbone, load_model
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import BackboneError, StmAgentError
from stm_agent.testing.pico import pico_checkpoint, pico_decoder


def broken_gguf(folder):
    (folder / "small.gguf").write_bytes(b"GGUF" + bytes(40))
    return folder / "small.gguf"


def no_gguf(folder):
    return folder / "gone.gguf"


def weights(folder):
    path = pico_decoder(folder / "pico") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    return path.parent


def one_file(folder):
    return pico_decoder(folder / "pico") / "model.safetensors"


def config(folder):
    (pico_decoder(folder / "pico") / "config.json").write_text('{"model_type": "nothing-known"}')
    return folder / "pico"


def no_tokenizer(folder):
    for path in pico_decoder(folder / "pico").glob("tokenizer*"):
        path.unlink()
    return folder / "pico"


def images(folder):
    from transformers import AutoTokenizer, ViTConfig, ViTModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ViTModel(ViTConfig(**sizes, image_size=32)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(pico_decoder(folder / "pico")).save_pretrained(folder)
    return folder


def static(folder):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pico_decoder(folder / "pico")).backend_tokenizer
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(
        str(folder / "static"), create_model_card=False
    )
    return folder / "static"


def adapter(folder):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoTokenizer

    base = pico_decoder(folder / "pico")
    network = get_peft_model(AutoModel.from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
    network.save_pretrained(folder / "adapter")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "adapter")
    return folder / "adapter"


def no_eos(folder):
    from transformers import AutoTokenizer

    path = pico_decoder(folder / "pico")
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(path)
    return path


MODELS = {
    "broken gguf": (broken_gguf, {}, r"cannot read .*small\.gguf: .*; get the file again"),
    "no gguf": (no_gguf, {}, r"no model found at .*gone\.gguf; give a model's folder, a \.gguf file"),
    "cut weights": (weights, {}, "cannot load backbone .*"),
    "one file": (one_file, {}, "no model found at .*safetensors; give a model's folder"),
    "unknown type": (config, {}, "cannot load backbone .*nothing-known"),
    "unknown type, cut": (config, {"layers": 1}, "cannot load backbone .*nothing-known"),
    "no tokenizer": (no_tokenizer, {}, "cannot load backbone .*"),
    "images": (images, {}, r"\(vit\) gives no hidden state for each token .*; name a text model"),
    "static": (static, {}, "is a StaticEmbedding, which has no hidden state for each token; name a text model"),
    "adapter": (adapter, {}, "is a LoRA adapter; fold it into its base model first"),
    "no EOS": (no_eos, {"pooling": "lasttoken"}, "has no EOS token; set eos: false or pooling: mean"),
    "half on a CPU": (lambda folder: pico_decoder(folder), {"dtype": "float16"}, "set dtype: auto"),
    "too long": (lambda folder: pico_decoder(folder), {"max_length": 513}, "reads 512 tokens, the domain asks for 513"),
    "too deep": (pico_checkpoint, {"layers": 3}, "has 2 layers, the domain asks for 3; lower 'layers'"),
}


@pytest.mark.parametrize(("make", "options", "text"), MODELS.values(), ids=MODELS)
def test_a_model_that_cannot_be_used(make, options, text, tmp_path):
    with pytest.raises(BackboneError, match=text) as caught:
        load_backbone(BackboneSpec(model=str(make(tmp_path)), **options))
    assert "\n" not in str(caught.value)


def test_a_static_model_can_still_be_evaluated(tmp_path):
    assert load_model(str(static(tmp_path))).encode("heart").shape == (8,)


@pytest.mark.parametrize(("name", "text"), [("embedded:hpo", "is data"), ("embedded:smollm", "did you mean smollm2")])
def test_an_embedded_name_that_is_no_model(name, text):
    with pytest.raises(StmAgentError, match=text):
        resolve_model(name)
