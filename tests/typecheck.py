"""The type checker of the tests: beartype, with an int accepted where a float is asked for (PEP 484). While
a network is traced for an exporter sizes are tensors, and nothing is checked."""

import functools

import torch
from beartype import BeartypeConf, beartype

_strict = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(hinted):
    """A function or class that checks its hints."""
    checked = _strict(hinted)
    if isinstance(hinted, type):
        return checked

    @functools.wraps(hinted)
    def either(*args, **options):
        return (hinted if torch.jit.is_tracing() else checked)(*args, **options)

    return either
