"""How much one property list may cost; the readers beside this module spend it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for one property list, counted as if every alias were written out.

    `size` is the bytes of the body, `depth` the nesting of dicts and arrays, `nodes` the number
    of values and keys, `expanded` the bytes of text and data after aliases are expanded (a binary
    property list may name one string a thousand times).
    """

    size: int = 16 * 1024 * 1024
    depth: int = 64
    nodes: int = 400_000
    expanded: int = 32 * 1024 * 1024


DEFAULT = Budget()

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1
