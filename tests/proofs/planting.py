"""A claim about the functions of a form, proved for the form as it is and refuted for a broken one.

A claim is a function of `form`: given a module's name, that gives the module's functions.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
from forms import FORMS
from symbolic import Refuted, prove, replay

Form = Callable[[str], Any]
Claim = Callable[[Form], Any]


class Mutant(NamedTuple):
    """`old` replaced by `new` in one form of a module; the claim must then fail."""

    claim: Claim
    form: str
    module: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.claim.__name__}-{self.form}-{self.new.strip() or 'nothing'}"


def form_of(name: str, planted: Mutant | None = None) -> Form:
    @cache
    def module(stem: str) -> Any:
        if planted is None or stem != planted.module:
            return FORMS[name](stem)
        return FORMS[name](stem, (planted.old, planted.new))

    return module


def check(claim: Claim, form: str) -> None:
    right = form_of(form)
    prove(lambda: claim(right))


def check_refuted(mutant: Mutant) -> None:
    """z3 finds a counterexample, and on plain integers it breaks the mutant and nothing else."""
    broken, right = form_of(mutant.form, mutant), form_of(mutant.form)
    with pytest.raises(Refuted) as found:
        prove(lambda: mutant.claim(broken))
    assert not replay(lambda: mutant.claim(broken), found.value.values)
    assert replay(lambda: mutant.claim(right), found.value.values)
