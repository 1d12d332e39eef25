"""What is written about a machine names no person and no folder of theirs."""

from __future__ import annotations

import pytest

from patchtrain.doctor.finding import failed, judged, passed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cannot open /home/ada/runs/a.so: no such file", "cannot open a.so: no such file"),
        ("File '/root/.venv/lib/python3.11/torch/x.py'", "File 'x.py'"),
        ("cannot write /home/ada", "cannot write (folder)"),
        ("cannot write ~ada/runs", "cannot write (folder)"),
        ("open file:///home/ada/x/y.py", "open y.py"),
        ("1.5/2 of 3 GB; and/or", "1.5/2 of 3 GB; and/or"),
        ("10 ms/batch", "10 ms/batch"),
    ],
)
def test_paths_are_cut_to_their_last_part(text, kept):
    found = failed(text, text, nested={"list": [text]}).to_json()
    assert found["told"] == found["remedy"] == kept
    assert found["figures"] == {"nested": {"list": [kept]}}


def test_a_finding_that_is_good_needs_no_remedy():
    assert judged(True, "fits", "buy more", size=1) == passed("fits", size=1)
    assert judged(False, "does not", "buy more") == failed("does not", "buy more")
