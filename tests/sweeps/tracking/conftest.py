import pytest
from tune_reports import FakeTrial, NotingLogger

from sweeps.tracking.tracker import Tracker


@pytest.fixture
def trial(tmp_path):
    return FakeTrial(tmp_path)


@pytest.fixture
def logger():
    return NotingLogger()


@pytest.fixture
def tracker(logger):
    tracker = Tracker("--tracker noting", lambda: logger)
    tracker.setup()
    return tracker
