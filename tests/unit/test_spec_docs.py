"""docs/spec.md says what the spec says."""

from __future__ import annotations

from pathlib import Path

import pytest

from limr.spec import Spec
from limr.spec_docs import fields, updated
from limr.validate import load
from limr.validate.load import check

PAGE = Path(__file__).parents[2] / "docs" / "spec.md"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == updated(page), "run: python -m limr.spec_docs docs/spec.md"


def test_every_field_stands_in_it_with_its_default() -> None:
    table = fields()
    for part in ("model", "dataset", "ppo", "limits", "evaluation"):
        model = Spec.model_fields[part].annotation
        assert isinstance(model, type)
        assert all(f"| `{field.alias}` |" in table for field in model.model_fields.values())
    assert "| `actorLearningRate` | number, > 0 | `5e-7` |" in table
    assert "| `uri` | text | **required** | Hub id" in table
    assert "| `arms` | list of parts | `[{name: lim}]` |" in table
    assert "### spec.arms[].size" in table


def test_the_examples_on_the_page_are_valid() -> None:
    minimal, controls = (block.split("```")[0] for block in PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:3])
    assert [arm.name for arm in load(minimal + controls).spec.arms] == ["lim", "random", "full"]
    assert load(minimal).spec.probe.epochs == 21


def test_the_mistakes_on_the_page_are_what_the_check_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    minimal, controls = (block.split("```")[0] for block in page.split("```yaml\n")[1:3])
    wrong = minimal + controls.replace("size: {sameAs: lim}, ", "") + "      temperature: -1\n"
    wrong = wrong.replace("- {name: math500, uri: ./math500.jsonl}", "- name: math500\n      uri: ./math500.jsonl")
    shown = [line.strip() for line in page.split("3 mistakes:\n")[1].split("```")[0].splitlines()]
    assert sorted(map(str, check(wrong, ["spec.ppo.promptPerStep=3"])[1])) == sorted(shown)


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        updated("# Another page")
