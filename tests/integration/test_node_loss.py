"""A node of the cluster goes away: the trial continues elsewhere, and nothing is lost."""

from datetime import datetime, timezone

import pytest
from integration.sweep_process import by_id, check_studies, rows_in, rows_of, starter, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

NUM_TRIALS = 3
NUM_EPOCHS = 6
GB = 10**9


@pytest.fixture(scope="module")
def cluster():
    """A head that takes no trials, and two nodes for one trial each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=0, memory=GB, include_dashboard=False)
    yield cluster
    cluster.shutdown()


def test_the_trial_of_a_lost_node_goes_on_from_its_checkpoint_on_another(tmp_path, cluster):
    nodes = [cluster.add_node(num_cpus=1, memory=4 * GB) for _ in range(2)]
    cluster.wait_for_nodes()
    out = tmp_path / "run"

    def both_have_a_checkpoint():
        return len(list(out.glob("trials/*/checkpoint.txt"))) == 2

    with starter() as start:
        sweep = start(
            out,
            *("--num-trials", str(NUM_TRIALS), "--epochs", str(NUM_EPOCHS), "--budgets", "1GB"),
            *("--max-concurrent", "2", "--address", cluster.address),
        )
        wait_until(both_have_a_checkpoint, sweep)
        running = {note.parent.name for note in out.glob("trials/*/checkpoint.txt")}
        before = by_id(rows_of(out))
        lost_at = datetime.now(timezone.utc)
        cluster.remove_node(nodes[0], allow_graceful=False)
        output, errors = sweep.communicate(timeout=300)
    assert (sweep.returncode, errors) == (0, ""), output
    rows = by_id(rows_of(out))
    assert len(rows_of(out)) == len(rows) == NUM_TRIALS
    assert {row["status"] for row in rows.values()} == {"completed"}
    assert all(rows[trial_id] == row for trial_id, row in before.items())
    for trial_id in running:  # one of them was on the lost node
        assert rows[trial_id]["started_at"] < lost_at
    epochs = [(row["trial_id"], row["epoch"]) for row in rows_in(out / "epochs.parquet")]
    assert len(epochs) == len(set(epochs)) == NUM_TRIALS * NUM_EPOCHS
    check_studies(out, rows)
