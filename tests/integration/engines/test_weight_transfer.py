"""Weights on their way from real learners to real engines: what disturbs them is noticed, named and mended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from architectures import save_model
from engines import MODEL, engine_group, learner_group, ray_cluster, step_batch
from parallel_engine import parallel_engine

from limr.actors import Actor, ActorLost, wait
from limr.learner.delivery import BroadcastPeers, LearnerWeights
from limr.learner.group import LearnerGroup
from limr.rollout.group import EngineGroup
from limr.rollout.proof import Receipt, StaleWeights
from limr.rollout.types import EngineSettings, SamplingSettings
from limr.spec import EngineOptions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TEXT = list(range(10, 40))
WAIT = 300


@pytest.fixture(scope="module", autouse=True)
def ray_running() -> Iterator[None]:
    with ray_cluster():
        yield


@pytest.fixture(scope="module")
def learners() -> Iterator[LearnerGroup]:
    with closing(learner_group(2, zeroStage=3)) as group:
        group.measure(step_batch(1, 32, 4))
        group.update()
        yield group


@pytest.fixture(scope="module")
def engines() -> Iterator[EngineGroup]:
    with closing(engine_group(pods=2)) as group:
        yield group


class DisturbedActor(Actor):
    """An engine behind a line that flips one bit of the first chunk of a transfer, `times` times."""

    def __init__(self, actor: Actor, times: int) -> None:
        self.__dict__ |= actor.__dict__
        self.flips_left = times

    def call(self, method: str, *arguments: Any) -> Any:
        if method == "update" and self.flips_left:
            self.flips_left -= 1
            chunk = ray.get(arguments[0])
            data = chunk.data.copy()
            data[0] ^= 1
            arguments = (replace(chunk, data=data),)
        return super().call(method, *arguments)


@pytest.fixture
def disturb(engines: EngineGroup) -> Iterator[Any]:
    undisturbed = engines._engines[1]

    def start(times: int) -> None:
        engines._engines[1] = DisturbedActor(undisturbed, times)

    yield start
    engines._engines[1] = undisturbed


def test_a_bit_that_flips_once_is_noticed_and_sent_again(
    learners: LearnerGroup, engines: EngineGroup, disturb: Any
) -> None:
    disturb(times=1)
    before = engines.corrupted_transfers
    engines.sync(*learners.publish(1, TEXT))
    assert engines.corrupted_transfers == before + 1


def test_an_engine_that_cannot_be_given_the_weights_is_named_with_the_tensor(
    learners: LearnerGroup, engines: EngineGroup, disturb: Any
) -> None:
    disturb(times=2)
    with pytest.raises(StaleWeights, match=r"engine 1 received 1 tensor .*'model\.embed_tokens\.weight', twice"):
        engines.sync(*learners.publish(1, TEXT))


def test_a_replaced_engine_gets_the_weights(learners: LearnerGroup, engines: EngineGroup) -> None:
    engines.sync(*learners.publish(7, TEXT))
    replaced = engines.replaced
    engines._engines[0].kill()
    rollouts = engines.generate([[10, 11]] * 4, [1, 2, 3, 4], SamplingSettings(1, 1.0, 1.0, 8))
    assert engines.replaced == replaced + 1
    assert rollouts.version == 7


def test_an_engine_that_dies_during_a_transfer_is_replaced(learners: LearnerGroup, engines: EngineGroup) -> None:
    replaced = engines.replaced
    engines._engines[0].kill()
    engines.sync(*learners.publish(8, TEXT))
    assert engines.replaced == replaced + 1


def test_broadcast_brings_the_same_bits_as_the_object_store(learners: LearnerGroup, engines: EngineGroup) -> None:
    peers = BroadcastPeers(learners._learners[0], WAIT)
    weights = LearnerWeights(learners._learners, 3, WAIT, peers)
    for _ in range(2):  # the second time without forming the group anew
        for receipt in weights.deliver(engines._engines):
            assert isinstance(receipt, Receipt)
            assert receipt.differences() == []
            assert len(receipt.sent) > 20
    _, fingerprint = learners.publish(3, TEXT)
    engines.sync(weights, fingerprint)
    (receipt,) = weights.deliver(engines._engines[1:])  # to one engine alone, as after a replacement
    assert isinstance(receipt, Receipt)
    assert receipt.differences() == []


@pytest.mark.nightly
def test_an_engine_lost_during_a_broadcast_ends_the_attempt(learners: LearnerGroup) -> None:
    with closing(engine_group()) as engines, closing(learner_group(1)) as sender:
        weights = LearnerWeights(sender._learners, 1, WAIT, BroadcastPeers(sender._learners[0], WAIT))
        weights.deliver(engines._engines)
        engines._engines[0].kill()
        with pytest.raises((ActorLost, RuntimeError)):
            weights.deliver(engines._engines)


@pytest.mark.parametrize("broadcast", [False, True], ids=["object-store", "broadcast"])
@pytest.mark.parametrize("architecture", ["qwen3", "qwen3-moe"])
@pytest.mark.nightly
def test_every_worker_process_of_an_engine_gets_the_weights(architecture: str, broadcast: bool, tmp_path: Path) -> None:
    model = str(save_model(architecture, tmp_path / "model"))
    engine = parallel_engine(EngineSettings(model, None, None, "float32", 64, EngineOptions(max_sequences=64)))
    with closing(learner_group(1, model=model)) as learners:
        learners.measure(step_batch(1, 32, 4))
        learners.update()
        peers = BroadcastPeers(learners._learners[0], WAIT) if broadcast else None
        (receipt,) = LearnerWeights(learners._learners, 1, WAIT, peers).deliver([engine])
        assert isinstance(receipt, Receipt)
        assert len(receipt.received) == 2
        assert receipt.differences() == []
        _, fingerprint = learners.publish(1, TEXT)
        fingerprint.check(0, wait(engine, engine.call("score", TEXT), WAIT))
    engine.kill()


def test_files_are_loaded_as_they_were_exported(learners: LearnerGroup, engines: EngineGroup, tmp_path: Path) -> None:
    _, fingerprint = learners.publish(1, TEXT)
    engines.load_files(str(MODEL), "start", first := _fingerprint_of_start())
    assert np.abs(first.logprobs - fingerprint.logprobs).mean() > first.tolerance
    learners._call("export", tmp_path / "model")
    engines.load_files(str(tmp_path / "model"), "trained", fingerprint)


def _fingerprint_of_start() -> Any:
    with closing(learner_group(1)) as untrained:
        return untrained.publish(0, TEXT)[1]
