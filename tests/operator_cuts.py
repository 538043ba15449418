"""An operator that ends at a chosen call to the API and is started anew."""

from __future__ import annotations

from operator_lab import Lab

from limr.plan import Phase, Status
from limr_operator.api import Api


def outcome(status: Status) -> dict[str, object]:
    """What a run comes to, without its times."""
    stages = {
        name: (stage.state, stage.attempt, stage.charged_attempts, sorted(stage.outputs), stage.ledger)
        for name, stage in status.stages.items()
    }
    return {"phase": status.phase, "stages": stages, "results": status.results, "spent": status.device_hours}


class Cut(Exception):
    """The operator ends here."""


class CutApi(Api):
    """Ends the operator at its n-th call: before it is sent, or after the server has done it."""

    def __init__(self, lab: Lab, at: int, after: bool) -> None:
        super().__init__(lab.client, fence=lambda: None)
        self.calls: list[str] = []  # method and path
        self._at, self._after = at, after

    def _request(self, *arguments: object) -> dict[str, object]:
        self.calls.append(" ".join(map(str, arguments[:2])))
        if len(self.calls) == self._at and not self._after:
            raise Cut
        try:
            answer: dict[str, object] = super()._request(*arguments)  # type: ignore[arg-type]
        finally:
            if len(self.calls) == self._at:
                raise Cut  # whatever the answer was
        return answer


def run_cut(lab: Lab, at: int, after: bool, **spec: object) -> tuple[dict[str, object], list[str]]:
    """What comes of a run whose operator is ended at call `at` and started anew, and which calls were made."""
    api = CutApi(lab, at, after)
    lab.apply(**spec)
    for _ in range(200):
        try:
            lab.look(api)
        except Cut:
            continue
        status = lab.status()
        if status.phase in (Phase.COMPLETE, Phase.FAILED):
            return outcome(status), api.calls
        lab.wait()
    raise AssertionError(f"stuck after a cut at call {at}: {status.to_json()}")
