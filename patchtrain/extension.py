"""Parts of the user's own, named `package.module:Name` wherever a config or an option takes a name.

Finds and imports the object that a name stands for. Does not know what it is used for: the code
that asks for a data set, a method or a sampler checks that it keeps the contract of one.
"""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from patchtrain.errors import ConfigError, DataError, one_line

FORM = "package.module:Name"
"""How a part of the user's own is written."""

_MAX_REASON = 200
"""Characters of another error that our message repeats."""


def is_named(text: str) -> bool:
    """Whether `text` is meant as `package.module:Name` rather than as a built-in name."""
    return ":" in text


def has_form(text: str) -> bool:
    """Return whether `text` has the form `package.module:Name`."""
    module, _, name = text.partition(":")
    return name.isidentifier() and all(part.isidentifier() for part in module.split("."))


@contextmanager
def own_code(field: str, name: object) -> Iterator[None]:
    """Make an error of the user's own code within one that names its part.

    Errors of ours and memory that ran out stay as they are; so does everything if `name` is not of
    the form `package.module:Name`.

    Raises:
        ConfigError: the code raised, or called `sys.exit`.
    """
    try:
        yield
    except (ConfigError, DataError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        is_memory = type(error).__name__ in ("OutOfMemoryError", "BudgetExceeded")
        if is_memory or not (isinstance(name, str) and is_named(name)):
            raise
        raise ConfigError(
            f"{field}={name!r}: failed in {_where(error)} ({one_line(error, _MAX_REASON)}); mend "
            "its code"
        ) from error


def load_named(text: str, field: str) -> Any:
    """Return the object that `text` names, importing its module.

    The module is searched for on the Python path and then in the current folder, which comes last
    so that no file in it hides an installed package.

    Args:
        text: `package.module:Name`; Name is a public name at the top level of the module.
        field: the setting or option that holds `text`, for the message of an error.

    Raises:
        ConfigError: `text` has another form, there is no such module or name, or importing the
            module failed. One line with the field, its value, the rule and the remedy.
    """
    module_name, name = _parts(text, field)
    module = _imported(module_name, text, field)
    try:
        return getattr(module, name)
    except AttributeError:
        raise _no_such_name(module, name, text, field) from None


def _parts(text: str, field: str) -> tuple[str, str]:
    """Return the names of the module and of the object in it."""
    module, _, name = text.partition(":")
    if not has_form(text):
        raise ConfigError(
            f"{field}={text!r}: must have the form {FORM}; write for example my_parts:MyClass, "
            "for the class MyClass in my_parts.py"
        )
    if name.startswith("_"):
        raise ConfigError(
            f"{field}={text!r}: {name!r} is a private name of its module; "
            "give it a name without the leading underscore"
        )
    return module, name


def _imported(module: str, text: str, field: str) -> ModuleType:
    if module in sys.modules:  # perhaps reloaded since, in a notebook
        return sys.modules[module]
    _put_current_folder_on_path()
    importlib.invalidate_caches()  # the file may be newer than Python's listing of its folder
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{field}={text!r}: there is no module {error.name!r} on the Python path or in "
                f"{Path.cwd()}; run from the folder that contains it, or add that to PYTHONPATH"
            ) from None
        _raise_import_failed(error, module, text, field)
    except (Exception, SystemExit) as error:
        _raise_import_failed(error, module, text, field)


def _put_current_folder_on_path() -> None:
    current = Path.cwd()
    if not any(Path(entry).absolute() == current for entry in sys.path):
        sys.path.append(str(current))


def _raise_import_failed(error: BaseException, module: str, text: str, field: str) -> NoReturn:
    where = _where(error)
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or module).name}:{error.lineno}"
    raise ConfigError(
        f"{field}={text!r}: the module {module!r} was found, but importing it failed at {where} "
        f"({one_line(error, _MAX_REASON)}); `python -c 'import {module}'` shows the whole error"
    ) from error


def _where(error: BaseException) -> str:
    """Return the file and the line that raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _no_such_name(module: ModuleType, name: str, text: str, field: str) -> ConfigError:
    public = [known for known in vars(module) if not known.startswith("_")]
    close = difflib.get_close_matches(name, public, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else "define it there, or correct the name"
    where = getattr(module, "__file__", None) or "a folder without __init__.py"
    return ConfigError(
        f"{field}={text!r}: the module {module.__name__!r} ({where}) has no {name!r}; {remedy}"
    )
