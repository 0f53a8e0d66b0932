"""STB's evaluation (Zhang et al., ICIP 2017), in the measures of RHD's."""

from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.rhd import palm_relative

PROTOCOL = Protocol("STB, B1", ("stb",), "test", palm_relative)
