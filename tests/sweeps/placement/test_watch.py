"""A sweep does not wait for nodes that are gone for good."""

from __future__ import annotations

import pytest

from sweeps.errors import Unfinished
from sweeps.placement.watch import PATIENCE_S, NodeWatch

_NEEDED = [{"CPU": 1.0, "GPU": 0.5}, {"CPU": 1.0, "GPU": 1.0}]
_GOOD = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
_DEAD = {**_GOOD, "Alive": False}
_SMALL = {"Alive": True, "Resources": {"CPU": 8.0}}


class _Cluster:
    """Nodes and a clock that a test moves."""

    def __init__(self, *nodes):
        self.nodes, self.now_s = list(nodes), 0.0
        self.watch = NodeWatch(_NEEDED, lambda: self.nodes, clock=lambda: self.now_s)

    def wait(self, seconds: float) -> None:
        ends_at = self.now_s + seconds
        while self.now_s < ends_at:
            self.now_s += 1.0
            self.watch.on_step_end(0, [])


def test_a_cluster_with_a_suitable_node_may_take_its_time():
    _Cluster(_DEAD, _SMALL, _GOOD).wait(10_000)


@pytest.mark.parametrize(
    "nodes, found",
    [
        ([_DEAD], "no node is alive"),
        ([], "no node is alive"),
        ([_SMALL, _DEAD], "1 node is alive"),
    ],
)
def test_without_one_the_sweep_ends_within_a_minute(nodes, found):
    cluster = _Cluster(_GOOD)
    cluster.wait(100)
    cluster.nodes = nodes
    with pytest.raises(Unfinished) as ended:
        cluster.wait(10_000)
    assert PATIENCE_S <= cluster.now_s - 100 < 60
    assert found in str(ended.value)
    assert "(CPU 1, GPU 0.5); start nodes again" in str(ended.value)
    assert cluster.watch.unfinished is ended.value


def test_a_node_that_comes_back_in_time_is_waited_for():
    cluster = _Cluster(_GOOD)
    for _ in range(5):
        cluster.nodes = [_DEAD]
        cluster.wait(PATIENCE_S - 10)
        cluster.nodes = [_GOOD]
        cluster.wait(20)
