"""Chromium lays the report out at a desk's and at a phone's width without anything sticking out."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import browser
import pytest
from report_experiment import HOSTILE, FakeExperiment

from limr.report.stage import run_stage

pytestmark = pytest.mark.integration

WIDTHS = (1280, 400)
SMALLEST_TEXT = 11  # px, of a chart's labels on the screen

# Each width is an iframe: a browser's own window may be wider than it was asked to be.
MEASURE = """
addEventListener("load", () => {
  const measured = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach((part) => { part.open = true; });
    const scale = (svg) => svg.getBoundingClientRect().width / (svg.viewBox.baseVal.width || svg.width.baseVal.value);
    const style = (element) => frame.contentWindow.getComputedStyle(element);
    const size = (text) => parseFloat(style(text).fontSize) * scale(text.ownerSVGElement);
    const overflowing = [...page.querySelectorAll("svg.chart")].filter((svg) => {
      const edge = svg.getBoundingClientRect();
      return [...svg.querySelectorAll("text")].some((text) => {
        const box = text.getBoundingClientRect();
        return box.right > edge.right + 8 || box.left < edge.left - 8;
      });
    });
    return {
      room: page.documentElement.clientWidth,
      needed: page.documentElement.scrollWidth,
      scrolling: [...page.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth).length,
      charts: page.querySelectorAll("svg.chart").length,
      smallestText: Math.min(...[...page.querySelectorAll("svg text")].map(size)),
      overflowing: overflowing.map((svg) => svg.getAttribute("aria-label")),
    };
  });
  document.getElementById("measured").textContent = JSON.stringify(measured);
});
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    texts = [f"{index} {HOSTILE} {'unbreakable' * 30}" for index in range(512)]
    experiment = FakeExperiment(folder / "store", warnings=(HOSTILE,), texts=texts).run_all()
    run_stage(experiment.stage_input(), experiment.store)
    return experiment.store.get("report/index.html").decode()


@pytest.fixture(scope="module")
def measured(page: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_browser(page, tmp_path_factory.mktemp("measured"))


def in_browser(page: str, folder: Path) -> list[dict[str, Any]]:
    """What Chromium measures of the page, one entry for each of WIDTHS."""
    frames = "".join(
        f'<iframe srcdoc="{html.escape(page)}" style="width: {width}px; height: 900px; border: 0"></iframe>'
        for width in WIDTHS
    )
    wrapper = folder / "wrapper.html"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><pre id="measured"></pre><script>{MEASURE}</script>{frames}'
    )
    answer = re.search(r'<pre id="measured">(.+?)</pre>', browser.dom(wrapper, folder), re.DOTALL)
    assert answer, "Chromium measured nothing"
    found: list[dict[str, Any]] = json.loads(html.unescape(answer[1]))
    return found


@pytest.mark.parametrize("index", range(len(WIDTHS)), ids=[f"{width}px" for width in WIDTHS])
def test_layout(measured: list[dict[str, Any]], index: int) -> None:
    page = measured[index]
    assert WIDTHS[index] - 20 <= page["room"] <= WIDTHS[index]  # less a scroll bar
    assert page["needed"] <= page["room"], "the page scrolls sideways"
    assert page["charts"] > 10
    assert page["smallestText"] >= SMALLEST_TEXT
    assert page["overflowing"] == []


def test_wide_tables_scroll_in_their_own_box_on_a_phone(measured: list[dict[str, Any]]) -> None:
    assert measured[1]["scrolling"] > 0


def test_a_page_that_sticks_out_is_noticed(tmp_path: Path) -> None:
    page = '<!doctype html><div style="width: 700px">wide</div><svg><text>x</text></svg>'
    desk, phone = in_browser(page, tmp_path)
    assert desk["needed"] <= desk["room"]
    assert phone["needed"] > phone["room"]


def test_it_asks_the_network_for_nothing(page: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    assert browser.requests(tmp_path / "index.html", tmp_path) == set()


def test_a_page_that_asks_the_network_is_noticed(tmp_path: Path) -> None:
    asked = {"http://limr.example/pixel.png", "https://limr.example/curve.json"}
    script = "".join(f"<script>fetch('{url}').catch(() => 0)</script>" for url in asked)
    (tmp_path / "index.html").write_text(f"<!doctype html>{script}")
    assert browser.requests(tmp_path / "index.html", tmp_path) == asked
