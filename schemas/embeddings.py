"""Embedding spaces: the agreement under which two vectors may be compared."""

import math
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import InvalidVector, SpaceMismatch

Vector = npt.NDArray[np.float32]
"""(dim,) or (n, dim) float32, C-contiguous, rows of unit norm unless said otherwise."""

NORM_TOLERANCE = 1e-3
DIM_MAX = 4096
_SQUARE_MIN, _SQUARE_MAX = 1e-20, 1e300
"""Between them a sum of squares has neither overflowed nor lost digits."""


@dataclass(frozen=True, slots=True)
class Space:
    """What encoders are certified for: a name (with its version in it) and a dimension; vectors have unit norm."""

    name: str
    dim: int

    def __post_init__(self) -> None:
        assert self.name, "a space has a name"
        assert 1 <= self.dim <= DIM_MAX, self.dim

    def __str__(self) -> str:
        return f"{self.name}:{self.dim}"

    @staticmethod
    def parse(text: str) -> "Space":
        """The space that ``str`` wrote, ``name:dim``; raises ValueError for anything else."""
        name, _, dim = text.rpartition(":")
        if not name or not dim.isdecimal() or not 1 <= int(dim) <= DIM_MAX:
            raise ValueError(f"{text!r} is not NAME:DIM with a dimension of 1 to {DIM_MAX}")
        return Space(name, int(dim))


def normalise(values: npt.ArrayLike, space: Space, *, space_name: str = "") -> Vector:
    """One given vector as (dim,) float32 of unit norm.

    Args:
        values: dim finite numbers, not all zero.
        space: the lane's space.
        space_name: the space the giver named; empty means the lane's.

    Raises:
        SpaceMismatch: another space is named.
        InvalidVector: wrong dimension, not finite, or all zero. Dead-letter the record.
    """
    if space_name and space_name != space.name:
        raise SpaceMismatch(f"the vector is of space {space_name!r}, this lane holds {space.name!r}")
    try:
        # A list is packed in a third of the time that NumPy takes to look at each of its numbers.
        packed = struct.pack(f"{len(values)}d", *values) if isinstance(values, list) else None
        vector = np.asarray(values, np.float64) if packed is None else np.frombuffer(packed, np.float64)
    except (TypeError, ValueError, OverflowError, struct.error):
        raise InvalidVector("a vector is a list of numbers") from None
    if vector.shape != (space.dim,):
        raise InvalidVector(f"the vector has shape {vector.shape}, space {space.name!r} has ({space.dim},)")
    square = np.vdot(vector, vector).item()  # as `@`, which would warn of an overflow
    if _SQUARE_MIN < square < _SQUARE_MAX:  # nearly all: what follows costs as much as all before
        return (vector / math.sqrt(square)).astype(np.float32)
    largest = float(np.abs(vector).max())
    if not math.isfinite(largest):  # a NaN is the greatest, too
        raise InvalidVector("the vector has a value that is not finite")
    if largest < 1e-12:
        raise InvalidVector("the vector is all zeros")
    scaled = vector / largest  # or the squares of large values would overflow to an infinite norm
    return (scaled / math.sqrt(float(scaled @ scaled))).astype(np.float32)


def to_fp16(vector: Vector) -> bytes:
    """(dim,) float32 → dim little-endian float16, the form in which vectors travel and rest."""
    return vector.astype("<f2").tobytes()


def from_fp16(raw: bytes, dim: int) -> Vector:
    """dim little-endian float16 → (dim,) float32.

    Raises:
        InvalidVector: another length, a value that is not finite, or a norm off 1 by more than fp16 explains.
    """
    if len(raw) != 2 * dim:
        raise InvalidVector(f"{len(raw)} bytes of vector where {2 * dim} are due")
    vector = np.frombuffer(raw, dtype="<f2").astype(np.float32)
    norm = float(np.linalg.norm(vector))
    if not abs(norm - 1.0) <= 2 * NORM_TOLERANCE:  # also catches NaN
        raise InvalidVector(f"the vector's norm is {norm}, not 1")
    return vector
