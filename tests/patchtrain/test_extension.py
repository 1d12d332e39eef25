from __future__ import annotations

import sys
from pathlib import Path

import pytest

from patchtrain.errors import ConfigError
from patchtrain.extension import is_named, load_named


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A current folder that is not on the path; its modules have names that no others have."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith("own_"):
            del sys.modules[name]


def error_of(text: str, field: str = "dataset") -> str:
    with pytest.raises(ConfigError) as raised:
        load_named(text, field)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{field}={text!r}: ")
    return message


def test_a_name_is_found_in_the_current_folder(folder):
    (folder / "own_parts.py").write_text("class Mine:\n    answer = 42\n")
    assert load_named("own_parts:Mine", "dataset").answer == 42


def test_a_name_is_found_in_a_module_of_a_package(folder):
    package = folder / "own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "deep.py").write_text("def make():\n    return 'made'\n")
    assert load_named("own_package.deep:make", "method")() == "made"


def test_a_name_is_found_in_a_folder_without_init(folder):
    (folder / "own_folder").mkdir()
    (folder / "own_folder" / "inside.py").write_text("Mine = 1\n")
    assert load_named("own_folder.inside:Mine", "method") == 1


def test_a_name_is_found_on_the_path(tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "own_elsewhere.py").write_text("Mine = 1\n")
    monkeypatch.syspath_prepend(elsewhere)
    assert load_named("own_elsewhere:Mine", "method") == 1


def test_the_current_folder_is_put_on_the_path_once_and_last(folder):
    (folder / "own_parts.py").write_text("Mine = Other = 1\n")
    before = list(sys.path)
    load_named("own_parts:Mine", "dataset")
    load_named("own_parts:Other", "dataset")
    assert sys.path == [*before, str(folder)]


def test_a_path_that_means_the_current_folder_is_not_added_again(folder, monkeypatch):
    (folder / "own_parts.py").write_text("Mine = 1\n")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    before = list(sys.path)
    load_named("own_parts:Mine", "dataset")
    assert sys.path == before


def test_a_file_in_the_current_folder_hides_no_installed_package(folder, monkeypatch):
    (folder / "colorsys.py").write_text("Mine = 1\n")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert "has no 'Mine'" in error_of("colorsys:Mine")


@pytest.mark.parametrize(
    "text", ["", ":", "own_parts:", ":Mine", "own_parts", "a/b.py:Mine", "a..b:Mine", "a:b:Mine"]
)
def test_another_form_is_refused_with_an_example(text):
    assert "must have the form package.module:Name; write for example" in error_of(text)


def test_a_private_name_is_refused_before_anything_is_imported(folder):
    (folder / "own_parts.py").write_text("raise RuntimeError\n")
    assert "'_Mine' is a private name" in error_of("own_parts:_Mine")


@pytest.mark.parametrize("text", ["own_missing:Mine", "own_missing.module:Mine"])
def test_a_missing_module_is_named_with_where_it_was_looked_for(folder, text):
    message = error_of(text)
    assert "there is no module 'own_missing' on the Python path" in message
    assert str(folder) in message
    assert "PYTHONPATH" in message


def test_a_missing_module_of_a_package_is_named_in_full(folder):
    (folder / "own_package").mkdir()
    (folder / "own_package" / "__init__.py").touch()
    assert "no module 'own_package.deep'" in error_of("own_package.deep:Mine")


@pytest.mark.parametrize(
    "content, reason",
    [
        ("\nimport own_not_installed\n", "own_parts.py:2 (ModuleNotFoundError: No module named"),
        ("from json import nonsense\n", "own_parts.py:1 (ImportError: cannot import name"),
        ("raise ValueError('two\\nlines')\n", "own_parts.py:1 (ValueError: two lines)"),
        ("\n\nclass Mine\n", "own_parts.py:3 (SyntaxError: "),
        ("raise SystemExit(3)\n", "own_parts.py:1 (SystemExit: 3)"),
    ],
)
def test_a_module_whose_own_import_fails_is_told_from_a_missing_one(folder, content, reason):
    (folder / "own_parts.py").write_text(content)
    message = error_of("own_parts:Mine")
    assert "'own_parts' was found, but importing it failed at" in message
    assert reason in message
    assert "python -c 'import own_parts'" in message


def test_a_missing_name_brings_the_file_and_a_similar_one(folder):
    (folder / "own_parts.py").write_text("class MySampler: ...\n")
    message = error_of("own_parts:MySample", "--sampler")
    assert str(folder / "own_parts.py") in message
    assert "did you mean 'MySampler'?" in message


def test_a_missing_name_with_nothing_similar_says_what_to_do(folder):
    (folder / "own_parts.py").write_text("")
    assert "has no 'Mine'; define it there" in error_of("own_parts:Mine")


def test_a_built_in_name_is_not_one_of_the_users_own():
    assert is_named("own_parts:Mine")
    assert not is_named("tpe")
