"""The protocols of data sets by name."""

from tempohand.evaluation.protocols import (
    dexter,
    dexycb,
    freihand,
    hint,
    ho3d,
    hot3d,
    interhand,
    rhd,
    stb,
    temporal,
)
from tempohand.evaluation.protocols.protocol import Protocol

PROTOCOLS = {
    "freihand": freihand.PROTOCOL,
    "ho3d_v2": ho3d.protocol("v2"),
    "ho3d_v3": ho3d.protocol("v3"),
    "dexycb": dexycb.PROTOCOL,
    "interhand": interhand.PROTOCOL,
    "hot3d": hot3d.PROTOCOL,
    "stb": stb.PROTOCOL,
    "rhd": rhd.PROTOCOL,
    "dexter_object": dexter.DEXTER_OBJECT,
    "egodexter": dexter.EGODEXTER,
    "hint": hint.PROTOCOL,
    "temporal": temporal.PROTOCOL,
}


def find_protocol(name: str) -> Protocol:
    """A protocol by name. Raises ValueError listing the names for an unknown one."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol={name} is not known, there are: {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name]
