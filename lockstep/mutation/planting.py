"""Run other code in the functions of a Python module for a while: how bugs get into a model."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import CodeType, FunctionType, ModuleType

from lockstep.errors import InputError

Swap = tuple[FunctionType, CodeType]


class NothingPlanted(InputError):
    """The text does what the module does already."""


@contextmanager
def planted_code(texts: Mapping[str, str]) -> Iterator[None]:
    """Within it, functions of the modules in these files (paths from the root of the imports) run
    the code of these texts. Raises NothingPlanted when a text changes no function.
    """
    before: list[Swap] = []
    try:
        for file, text in texts.items():
            swaps = _swaps(file, text)
            if not swaps:
                raise NothingPlanted(f"the edit of {file} changes no function: nothing was planted")
            for function, code in swaps:
                before.append((function, function.__code__))
                function.__code__ = code
        yield
    finally:
        for function, code in reversed(before):
            function.__code__ = code


def code_digest(file: str, text: str) -> str:
    """Of what the text changes in the functions of its module; empty if nothing."""
    swaps = _swaps(file, text)
    if not swaps:
        return ""
    parts = sorted(f"{function.__qualname__} {_content(code)!r}" for function, code in swaps)
    return hashlib.sha256("\n".join([file, *parts]).encode()).hexdigest()[:24]


def _swaps(file: str, text: str) -> list[Swap]:
    """The functions of a module that the text changes, and the code that it has for them.

    Swapping the code keeps the functions themselves, whoever has imported them.
    """
    module = import_module(file.removesuffix(".py").replace("/", "."))
    changed = dict(_codes(compile(text, str(module.__file__), "exec")))
    swaps = []
    for function in _functions(module):
        code = changed[function.__qualname__]
        if _content(code) != _content(function.__code__):
            swaps.append((function, code))
    return swaps


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Functions, methods and properties written in a module, without their decorators."""
    owners = [module, *(v for v in vars(module).values() if inspect.isclass(v))]
    for owner in owners:
        for value in vars(owner).values():
            inner = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
            function = inspect.unwrap(inner) if inspect.isfunction(inner) else None
            if function is not None and function.__code__.co_filename == module.__file__:
                yield function


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _content(code: CodeType) -> tuple[object, ...]:
    """What code does, without the lines it stands on."""
    constants = [_content(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, constants
