"""What the examples ship: the demo's data is what its script makes, and its model speaks exactly that language."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from limr.dataset import Dataset, parse
from limr.reward.format import final_answer
from limr.validate import load

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples/arithmetic"
MODEL = DEMO / "model"
FILES = ("dataset.jsonl", "benchmark.jsonl")
END = "<|end|>"


@pytest.fixture
def make_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(DEMO)
    yield importlib.import_module("make_data")
    for name in ("make_data", "pupil"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / name).read_text("utf-8").splitlines()]


def prompts(name: str) -> Dataset:
    return parse((DEMO / name).read_bytes(), name, "prompt", "answer")


def response(answer: str) -> str:
    return f" \\boxed{{{answer}}}"


def test_the_script_makes_the_committed_files_byte_for_byte(make_data: ModuleType, tmp_path: Path) -> None:
    make_data.write(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes()


def test_no_question_of_the_benchmark_is_trained_on() -> None:
    trained, held_out = ({prompt.prompt_id for prompt in prompts(name).prompts} for name in FILES)
    assert trained
    assert held_out
    assert not trained & held_out


@pytest.mark.parametrize("name", FILES)
def test_no_prompt_stands_twice_and_every_band_is_there(name: str) -> None:
    assert prompts(name).warnings == []
    assert {row["band"] for row in rows(name)} == {"sure", "shaky", "product"}


@pytest.mark.parametrize("name", FILES)
def test_answers_are_right_and_bands_are_the_pupils(name: str, make_data: ModuleType) -> None:
    for row in rows(name):
        product = "*" in row["prompt"]
        left, right = map(int, row["prompt"].rstrip("=").split("*" if product else "+"))
        assert int(row["answer"]) == (left * right if product else left + right)
        if product:
            assert row["band"] == "product"
        else:
            assert row["band"] == ("sure" if make_data.is_sure(left, right) else "shaky")


def test_the_model_is_small_enough_to_be_committed() -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 5_000_000


def test_model_and_tokenizer_agree(tokenizer: Tokenizer) -> None:
    config = json.loads((MODEL / "config.json").read_text("utf-8"))
    with safe_open(MODEL / "model.safetensors", framework="np") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118 - no mapping
    assert shapes["model.embed_tokens.weight"] == [tokenizer.get_vocab_size(), config["hidden_size"]]
    assert "lm_head.weight" not in shapes  # tied, as the README says
    assert config["eos_token_id"] == tokenizer.token_to_id(END)
    assert config["pad_token_id"] != config["eos_token_id"]


@pytest.mark.parametrize("name", FILES)
def test_tokens_are_single_characters_and_one_opening(name: str, tokenizer: Tokenizer) -> None:
    ppo = load(DEMO / "experiment.yaml").spec.ppo
    for row in rows(name):
        asked = tokenizer.encode(row["prompt"])
        assert tokenizer.decode(asked.ids) == row["prompt"]
        assert len(asked.ids) == len(row["prompt"]) <= ppo.max_prompt_tokens
        said = tokenizer.encode(response(row["answer"]) + END)
        assert tokenizer.decode(said.ids) == response(row["answer"])
        assert len(said.ids) == 1 + len(row["answer"]) + 2 <= ppo.max_response_tokens


def test_any_text_can_be_tokenized(tokenizer: Tokenizer) -> None:
    text = "Zwölf plus 34?\n\t∑ \N{GRINNING FACE}"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("name", FILES)
def test_right_responses_pass_the_format_rules(name: str) -> None:
    for row in rows(name):
        assert final_answer(response(row["answer"]), truncated=False) == row["answer"]
