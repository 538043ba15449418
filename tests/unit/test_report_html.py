"""The page is one valid, self-contained HTML file, whatever the experiment lacks and whatever the prompts say."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_experiment import HOSTILE, SPEC, FakeExperiment

from limr.report.html import render
from limr.report.reading import read
from limr.report.results import build

VOID = {"meta", "br", "hr", "img", "input", "link"}
SVG_LEAVES = {"line", "path", "circle", "rect"}  # written <line/>
LOADS = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects ids, references, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            assert tag not in SVG_LEAVES or tag == "path"  # a path may hold its title
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name in LOADS:
                self.references.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def page_of(experiment: FakeExperiment) -> str:
    return render(build(read(experiment.run_all().stage_input()), {"limr": "0"}))


def variant(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(SPEC)), **changes}


VARIANTS: dict[str, dict[str, Any]] = {
    "whole": SPEC,
    "no probe": variant(selection={"scoresFrom": "s3://b/scores.json"}, training={"steps": 40}),
    "no benchmarks": variant(evaluation={}),
    "one benchmark": variant(evaluation={"benchmarks": SPEC["evaluation"]["benchmarks"][:1]}),
    "reused probe": variant(arms=[{"name": "lim"}, {"name": "full", "reuseProbe": True}]),
    "one arm, one epoch": variant(arms=[{"name": "lim"}], evaluation={}, probe={"epochs": 1}),
    "only full": variant(arms=[{"name": "full", "selection": {"strategy": "full"}}]),
    "twenty arms": variant(arms=[{"name": f"a{index}"} for index in range(20)]),
}


@pytest.fixture(params=VARIANTS)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return page_of(FakeExperiment(tmp_path, VARIANTS[request.param]))


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.tags.isdisjoint({"script", "link", "iframe", "img", "object", "embed"})
    assert all(name in parsed.ids for name in (reference.removeprefix("#") for reference in parsed.references))
    assert all(reference.startswith("#") for reference in parsed.references)
    assert not any(name.startswith("on") for name in parsed.attributes)
    assert not re.search(r"@import|url\(|@font-face", page)
    assert not re.search(r"\b(nan|None|inf)\b", parsed.text.split("The whole spec")[0])


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    experiment = FakeExperiment(tmp_path, warnings=("the average curve stays below one half",))
    text = Page(page_of(experiment)).text
    for expected in (
        "lim, trained on",
        "the average curve stays below one half",
        "lim − random",
        "threshold 0.60",
        "sums",
    ):
        assert expected in text


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    experiment = FakeExperiment(tmp_path, warnings=(HOSTILE,), texts=[f"{index} {HOSTILE}" for index in range(512)])
    page = page_of(experiment)
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "\0" not in page
    assert "\x1b" not in page
    assert "<script>alert(1)</script> & \"quotes\" 'too' ␀ ␛[31m {{ 7 * 7 }} </pre></style>" in parsed.text
    page.encode("utf-8")


def test_a_page_stays_small(tmp_path: Path) -> None:
    """Also for a dataset as large as the paper's."""
    experiment = FakeExperiment(tmp_path, variant(probe={"epochs": 21}), prompts=8512)
    assert len(page_of(experiment)) < 1_000_000


def test_what_training_did_wrong_stands_above_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_experiment.ABILITY", {"base": 1.5, "lim": -1.5, "random": -1.6, "full": -1.4})
    results = build(read(FakeExperiment(tmp_path).run_all().stage_input()), {})
    assert results.problems == [results.headline]
    assert results.headline.startswith("Every arm is worse than the base model, lim by ")
    assert re.search(r"<h1>Every arm is worse than the base model", render(results))
