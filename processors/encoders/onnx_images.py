"""The image tower run by ONNX Runtime, in eight bits where a model brings such a trunk: see docs/adr/0013."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from processors.encoders.onnx_network import OnnxNetwork

if TYPE_CHECKING:
    import torch

_log = structlog.get_logger()

QUANTISED = "image_trunk_int8.onnx"
"""Beside the weights of a model, where there is one: see :mod:`training.quantise`."""
WEIGHTS_ID = "encoder_id"
"""In that file, the weights that it was made of."""
KNOWN_ANSWERS = "known_answers"
"""In that file, what exact arithmetic makes of the pictures of :func:`patches`: (n, width) float32 in base64."""
_SAME_COSINE_MIN = 0.9995
_GRAINS = range(3, 7)


class OnnxImages(OnnxNetwork):
    """A network of pictures between torch's tensors: (n, 3, side, side) float32 → (n, width) float32."""

    def __init__(self, graph: bytes, threads: int) -> None:
        super().__init__(graph, threads)
        self.graph = graph

    def __call__(self, batch: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.run(batch.contiguous().numpy()))


def patches(side: int) -> "torch.Tensor":
    """(4, 3, side, side) float32: noise in patches, from coarse to fine, the same everywhere.

    Fewer than eight patches a side would be a picture of nothing, which says little in any precision.
    """
    import torch

    noise = torch.Generator().manual_seed(0)
    coarse = [torch.randn(1, 3, 2**grain, 2**grain, generator=noise) for grain in _GRAINS]
    return torch.cat([torch.nn.functional.interpolate(each, size=(side, side)) for each in coarse])


def quantised(folder: Path | None, weights_id: str, side: int, threads: int) -> OnnxImages | None:
    """The eight-bit trunk in a model's folder; None without one, without the packages, or if it must not be served.

    A processor without instructions for eight bits (VNNI and the like) multiplies them in sixteen, which overflow. It
    gives other answers, and is quicker at float32 than with weights that do not overflow (docs/adr/0013).
    """
    path = folder / QUANTISED if folder else None
    if path is None or not path.exists():
        return None
    try:
        images = OnnxImages(path.read_bytes(), threads)
        if images.facts.get(WEIGHTS_ID) != weights_id:
            raise ValueError("it was made of other weights")
        cosine = agreement(images, side)
    except Exception as error:  # of other weights; not installed; or a file that is none
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        _log.warning("the trunk in eight bits is not used", reason=reason, file=str(path))
        return None
    if cosine < _SAME_COSINE_MIN:
        _log.info("the trunk in eight bits is not used", reason="this processor overflows", cosine=round(cosine, 4))
        return None
    return images


def agreement(images: OnnxImages, side: int) -> float:
    """The least cosine between what a trunk says here of :func:`patches` and what it says in exact arithmetic."""
    import torch

    said = images(patches(side))
    known = torch.frombuffer(bytearray(base64.b64decode(images.facts[KNOWN_ANSWERS])), dtype=torch.float32)
    return float(torch.nn.functional.cosine_similarity(said, known.view(said.shape)).min())
