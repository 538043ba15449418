"""Draws never-solved.svg: LIM's score of a prompt that is never solved, against the average accuracy of the probe.

python docs/img/never_solved.py > docs/img/never-solved.svg
"""

from __future__ import annotations

from collections.abc import Callable

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 56, 56
X0, X1 = 0.1, 0.75
Y0, Y1 = -5.0, 1.2
THRESHOLD = 0.6
TRAP = 0.4**0.5 / (1 + 0.4**0.5)  # where 1 − a²/(1 − a)² is the threshold
PAPER = -4.09  # lowest of the published scores

INK, GREY, RED, BLUE = "#1f2933", "#7b8794", "#c0392b", "#1f6fb2"


def published(average: float) -> float:
    return 1 - average**2 / (1 - average) ** 2


def corrected(average: float) -> float:
    return 1 - average**2 / min((1 - average) ** 2, average**2)


def x(average: float) -> float:
    return LEFT + (average - X0) / (X1 - X0) * (WIDTH - LEFT - RIGHT)


def y(score: float) -> float:
    return TOP + (Y1 - score) / (Y1 - Y0) * (HEIGHT - TOP - BOTTOM)


def stroke(colour: str, width: float, dash: str) -> str:
    return f'stroke="{colour}" stroke-width="{width}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def rectangle(left: float, top: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "", width: float = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f"<line {ends} {stroke(colour, width, dash)}/>"


def text(left: float, baseline: float, words: str, colour: str = INK, anchor: str = "start", size: int = 13) -> str:
    look = f'fill="{colour}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text x="{left:.1f}" y="{baseline:.1f}" {look}>{words}</text>'


def curve(function: Callable[[float], float], colour: str, dash: str = "") -> str:
    averages = [X0 + (X1 - X0) * step / 260 for step in range(261)]
    inside = [average for average in averages if function(average) >= Y0]
    points = " ".join(f"{x(average):.1f},{y(function(average)):.1f}" for average in inside)
    return f'<polyline points="{points}" fill="none" {stroke(colour, 2.5, dash)}/>'


def drawing() -> str:
    paper = (1 - PAPER) ** 0.5 / (1 + (1 - PAPER) ** 0.5)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif">',
        "<title>Score of a never solved prompt against the average accuracy</title>",
        rectangle(0, 0, WIDTH, HEIGHT, "#ffffff"),
        rectangle(x(X0), TOP, x(TRAP) - x(X0), HEIGHT - TOP - BOTTOM, "#fbe9e7"),
        text(LEFT, 28, "What LIM gives a prompt that is never solved", size=16),
        *(line(LEFT, y(score), WIDTH - RIGHT, y(score), "#e4e7eb") for score in range(-5, 2)),
        *(text(LEFT - 10, y(score) + 4, f"{score}".replace("-", "−"), GREY, "end") for score in range(-5, 2)),
        *(text(x(tenth / 10), HEIGHT - BOTTOM + 20, f"{tenth / 10}", GREY, "middle") for tenth in range(1, 8)),
        text(
            (LEFT + WIDTH - RIGHT) / 2,
            HEIGHT - 14,
            "average accuracy of all prompts (the same in every epoch)",
            INK,
            "middle",
        ),
        line(LEFT, y(THRESHOLD), WIDTH - RIGHT, y(THRESHOLD), INK, "5 4"),
        text(WIDTH - RIGHT, y(THRESHOLD) - 6, "threshold 0.6", INK, "end"),
        text(x(X0) + 10, y(-1.6), "the trap: below 0.39", RED),
        text(x(X0) + 10, y(-1.6) + 18, "never solved prompts", RED),
        text(x(X0) + 10, y(-1.6) + 36, "are selected", RED),
        curve(published, RED),
        curve(corrected, BLUE, "7 4"),
        text(x(0.575), y(-0.6), "readings code and paper", RED),
        text(x(0.24), y(0) + 18, "reading corrected", BLUE),
        f'<circle cx="{x(paper):.1f}" cy="{y(PAPER):.1f}" r="5" fill="{RED}"/>',
        text(x(paper) - 12, y(PAPER) + 4, "the paper’s run: −4.09", INK, "end"),
        "</svg>",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    print(drawing())
