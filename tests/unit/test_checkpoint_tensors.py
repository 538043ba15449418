"""What the learner publishes has the names and bits of the model's own files, whatever the architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES, save_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from limr.errors import LimrError
from limr.learner.models import load_language_model, rescaled
from limr.learner.weights import checkpoint_tensors


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_published_weights_are_those_of_the_files(architecture: str, tmp_path: Path) -> None:
    folder = save_model(architecture, tmp_path)
    lm = load_language_model(str(folder), None, "float32")
    published = {name: tensor.clone() for name, tensor in checkpoint_tensors(lm)}
    files = load_file(folder / "model.safetensors")
    assert published.keys() - files.keys() == ({"lm_head.weight"} if lm.config.tie_word_embeddings else set())
    for name, tensor in files.items():
        assert torch.equal(published[name], tensor), name
    if lm.config.tie_word_embeddings:
        assert torch.equal(published["lm_head.weight"], published["model.embed_tokens.weight"])


@pytest.mark.parametrize("architecture", ["granite", "gemma3", "cohere", "llama"])
def test_logits_are_those_of_the_models_own_forward(architecture: str, tmp_path: Path) -> None:
    lm = load_language_model(str(save_model(architecture, tmp_path)), None, "float32").eval()
    ids = torch.arange(10, 20)[None]
    with torch.no_grad():
        hidden = lm.base_model(input_ids=ids).last_hidden_state
        got = rescaled(lm.get_output_embeddings()(hidden), lm.config.get_text_config())
        torch.testing.assert_close(got, lm(input_ids=ids).logits)


def test_attention_that_the_learner_computes_otherwise_is_refused(tmp_path: Path) -> None:
    folder = save_model("gemma3", tmp_path)
    lm = AutoModelForCausalLM.from_pretrained(folder)
    lm.config.attn_logit_softcapping = 50.0
    lm.config.save_pretrained(folder)
    with pytest.raises(LimrError, match="caps its attention scores"):
        load_language_model(str(folder), None, "float32")
