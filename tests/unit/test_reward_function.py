import sys
from pathlib import Path

import pytest

from limr.errors import LimrError
from limr.reward import function
from limr.reward.verdict import Grade, Verdict


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_reward", raising=False)
    return tmp_path / "my_reward.py"


def test_loads_and_calls(module: Path) -> None:
    module.write_text("def half(response, answer, truncated):\n    return 0.5 * (response == answer)\n")
    assert function.call(function.load("my_reward:half"), "5", "5", False) == 0.5


@pytest.mark.parametrize(
    ("source", "path", "sentence"),
    [
        ("", "no_such_module_here:f", "cannot be imported (ModuleNotFoundError"),
        ("import no_such_module_here", "my_reward:f", "cannot be imported (ModuleNotFoundError"),
        ("def f(:", "my_reward:f", "cannot be imported (SyntaxError"),
        ("g = 5", "my_reward:f", "has no function 'f'"),
        ("f = 5", "my_reward:f", "has no function 'f'"),
        ("def f(response, answer): pass", "my_reward:f", "too many positional arguments"),
    ],
)
def test_what_cannot_be_used_is_named(module: Path, source: str, path: str, sentence: str) -> None:
    module.write_text(source)
    with pytest.raises(LimrError) as caught:
        function.load(path)
    assert repr(path) in str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("returned", "value"),
    [(1, 1.0), (True, 1.0), (-0.25, -0.25), (Grade(Verdict.FORMAT, -2, "short"), Grade(Verdict.FORMAT, -2.0, "short"))],
)
def test_numbers_and_grades_are_rewards(returned: object, value: object) -> None:
    assert function.call(lambda response, answer, truncated: returned, "", "", False) == value


@pytest.mark.parametrize("returned", [None, "1", float("nan"), float("inf"), Grade("maybe", 1.0), 1j])  # type: ignore[arg-type]
def test_nothing_else_is(returned: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        function.call(lambda response, answer, truncated: returned, "", "", False)
