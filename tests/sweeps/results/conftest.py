import pytest
from run_folder import DESCRIPTION

from sweeps.results.store import RunFolder


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(DESCRIPTION)
    yield folder
    folder.close()
