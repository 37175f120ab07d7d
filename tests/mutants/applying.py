"""Puts a mutant in the place of a module that is loaded already, in this process and without importing it anew.

The mutant's text is run beside the module; then the module's functions are given the mutant's code, and its constants
the mutant's values, in every module that has imported them. Classes, instances and registrations stay those that others
have hold of. What only such a class itself would show (a default in its body, say) cannot be put in place.
"""

from __future__ import annotations

import sys
import types
from typing import Any, Final

PLAIN: Final = (int, float, str, bytes, bool, types.NoneType)


class NotApplicable(Exception):
    """The mutant's change is in nothing that can be replaced in a loaded module."""


def apply(text: str, module: types.ModuleType) -> None:
    """Makes the module do what the text says. Raises `NotApplicable`, and whatever running the text raises."""
    made = types.ModuleType(module.__name__)
    exec(compile(text, getattr(module, "__file__", None) or module.__name__, "exec"), vars(made))
    changes = [_replace(module, name, old, vars(made).get(name)) for name, old in list(vars(module).items())]
    if not any(changes):
        raise NotApplicable(module.__name__)


def _replace(module: types.ModuleType, name: str, old: Any, new: Any) -> bool:
    """Gives what stands under a name what the mutant has there; answers whether that is anything else."""
    if name.startswith("__") or new is None:
        return False
    if isinstance(old, PLAIN) and type(old) is type(new):
        return old != new and _rebind(name, old, new)
    if getattr(old, "__module__", None) != module.__name__:
        return False
    if isinstance(old, type):
        changes = [_recode(member, vars(new).get(key)) for key, member in list(vars(old).items())]
        return any(changes)
    return _recode(old, new)


def _rebind(name: str, old: object, new: object) -> bool:
    """The new value wherever the old one is known by this name."""
    holders = [found for found in list(sys.modules.values()) if vars(found).get(name, sys) is old]
    for holder in holders:
        setattr(holder, name, new)
    return bool(holders)


def _recode(old: Any, new: Any) -> bool:
    """The new function's code and plain defaults for the old function, whatever it is wrapped in."""
    changed = False
    for before, after in zip(_functions(old), _functions(new), strict=False):
        changed |= before.__code__ != after.__code__
        before.__code__ = after.__code__
        if before.__defaults__:
            changed |= _differ(before.__defaults__, after.__defaults__ or ())
            before.__defaults__ = _merged(before.__defaults__, after.__defaults__ or ())
        by_name = before.__kwdefaults__ or {}
        plain = {key: value for key, value in (after.__kwdefaults__ or {}).items() if isinstance(value, PLAIN)}
        changed |= any(by_name[key] != value for key, value in plain.items())
        before.__kwdefaults__ = {**by_name, **plain}
    return changed


def _functions(found: Any) -> list[types.FunctionType]:
    """The functions of a module's own that are behind a function, a method, a property or a decorated one."""
    match found:
        case property():
            inside = [found.fget, found.fset]
        case staticmethod() | classmethod():
            inside = [found.__func__]
        case types.FunctionType() if hasattr(found, "__wrapped__"):
            inside = [found.__wrapped__]
        case types.FunctionType():
            return [found]
        case _:
            return []
    return [function for one in inside for function in _functions(one)]


def _differ(old: tuple[Any, ...], new: tuple[Any, ...]) -> bool:
    return any(isinstance(after, PLAIN) and before != after for before, after in zip(old, new, strict=False))


def _merged(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(after if isinstance(after, PLAIN) else before for before, after in zip(old, new, strict=True))
