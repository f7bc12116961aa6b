"""Leaves out what a library takes along for features that nothing here asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

#: Between two words of a class's name.
WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@contextmanager
def without(*names: str) -> Iterator[None]:
    """While something is imported inside, these packages seem not to be installed.

    What is loaded already stays. For libraries that do without them: each costs a worker some
    megabytes, and its start a twentieth of a second.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def by_the_piece(*packages: str) -> None:
    """Of these packages only those modules are loaded from now on that are asked for.

    For packages of a library whose ``__init__`` gathers hundreds of modules of which a few are needed. A
    class is looked for in the module of its name. All of it is carried out when a name is asked for that
    is in no such module; whatever could be had before can be had still. What is loaded already stays.
    Parents come before their packages.
    """
    for name in packages:
        spec = None if name in sys.modules else _spec(name)
        if spec is not None and spec.loader is not None and spec.submodule_search_locations:
            module = module_from_spec(spec)
            module.__class__ = _ByThePiece
            sys.modules[name] = module


def _spec(name: str) -> ModuleSpec | None:
    """Without loading the packages that it lies in."""
    parent = name.rpartition(".")[0]
    if not parent:
        return PathFinder.find_spec(name)
    around = _spec(parent)
    return PathFinder.find_spec(name, around.submodule_search_locations) if around else None


class _ByThePiece(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._has(name):
            return import_module(f"{self.__name__}.{name}")
        if (home := _module_of(name)) != name and self._has(home):
            found = getattr(import_module(f"{self.__name__}.{home}"), name, None)
            if found is not None:
                return found
        self.__class__ = ModuleType  # type: ignore[assignment]
        if self.__spec__ is not None and self.__spec__.loader is not None:
            self.__spec__.loader.exec_module(self)
        return getattr(self, name)

    def _has(self, name: str) -> bool:
        return PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__) is not None


def _module_of(name: str) -> str:
    """Where a class is, in packages with a module for each: ``audio_model`` has ``AudioModel``."""
    return WORD.sub("_", name).lower()
