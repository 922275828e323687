"""What makes a model quicker without changing what it says; each way is taken only where it agrees with the model.

Norms are folded and channels stay last. Small image towers run in ONNX Runtime on a processor, in eight bits where
the model brings such a trunk; others in bfloat16 where that is native. What was tried besides and why it is not here
(``torch.compile``, padding on a processor) stands in ``docs/performance.md``, with times and cosines of all.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import structlog

from processors.encoders.cores import LARGE_PARAMETERS
from processors.encoders.onnx_images import OnnxImages, patches
from processors.encoders.onnx_network import exported

if TYPE_CHECKING:
    import torch

COSINE_MIN = 0.999
"""What a certified space asks of two encoders for the same picture."""
INT8_COSINE_MIN = 0.99
"""The same of eight bits, of pictures of the catalogue that the ranges were not taken from."""
_log = structlog.get_logger()

Images = Callable[["torch.Tensor"], "torch.Tensor"]
"""``(n, 3, side, side)`` float32 on the model's device → ``(n, dim)`` of any float type, not normalised."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How a loaded model is run.

    Attributes:
        model: encodes texts.
        images: encodes pictures.
        precision: ``float32``, ``bfloat16``, or ``int8`` or ``float32 in ONNX Runtime``.
        graphs: where that runs the image tower, makes its graphs, one after the other.
    """

    model: Any
    images: Images
    precision: str
    graphs: Callable[[], list[bytes]] | None = None


def quicker(
    model: Any, device: "torch.device", side: int, threads: int = 1, *, int8: OnnxImages | None = None
) -> Execution:
    """The quickest execution of a model that says the same as the model.

    Args:
        model: in evaluation mode, float32, on the processor; it is changed.
        side: of its pictures, in pixels.
        threads: for ONNX Runtime; torch has its own setting.
        int8: the image tower's trunk in eight bits, made of these weights and computed exactly here.
    """
    import torch

    if any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        folded = copy.deepcopy(model)
        fold_norms(folded)
        if _agrees("folded norms", model.encode_image, folded.encode_image, torch.device("cpu"), side):
            model = folded
    model = model.to(device=device, memory_format=torch.channels_last)
    if device.type == "cpu" and int8 is not None:
        return _in_eight_bits(model, int8, side)
    if device.type == "cpu" and (images := _in_onnx_runtime(model, side, threads)):
        return Execution(model, images, "float32 in ONNX Runtime", lambda: [images.graph])
    if not has_bfloat16(device):
        return Execution(model, model.encode_image, "float32")
    half = copy.deepcopy(model).to(torch.bfloat16)
    in_half = _in_bfloat16(half)
    if _agrees("bfloat16", model.encode_image, in_half, device, side):
        return Execution(half, in_half, "bfloat16")
    return Execution(model, model.encode_image, "float32")


def _in_eight_bits(model: Any, trunk: OnnxImages, side: int) -> Execution:
    """The projection behind the trunk stays the model's, in float32."""
    import torch

    def images(batch: "torch.Tensor") -> "torch.Tensor":
        return cast("torch.Tensor", model.visual.head(trunk(batch)))

    def graphs() -> list[bytes]:
        return [trunk.graph, exported(model.visual.head, trunk(torch.zeros(2, 3, side, side)))]

    return Execution(model, images, "int8 in ONNX Runtime", graphs)


def _in_bfloat16(half: Any) -> Images:
    import torch

    return lambda batch: half.encode_image(batch.to(torch.bfloat16))


def _in_onnx_runtime(model: Any, side: int, threads: int) -> OnnxImages | None:
    """The image tower in ONNX Runtime; None for a large one, without the packages, or where it does not agree."""
    import torch

    if sum(weights.numel() for weights in model.visual.parameters()) >= LARGE_PARAMETERS:
        return None  # its time goes into the products of matrices, which bfloat16 halves
    try:
        images = OnnxImages(exported(model.visual, torch.zeros(2, 3, side, side)), threads)
    except Exception as error:  # not installed, or a network that the exporter cannot express
        _log.info("the image tower stays in torch", reason=f"{type(error).__name__}: {str(error)[:200]}")
        return None
    return images if _agrees("ONNX Runtime", model.encode_image, images, torch.device("cpu"), side) else None


def has_bfloat16(device: "torch.device") -> bool:
    """Whether this processor multiplies bfloat16 itself; elsewhere it is slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _agrees(what: str, one: Images, other: Images, device: "torch.device", side: int) -> bool:
    cosine = least_cosine(one, other, device, side)
    if cosine < COSINE_MIN:
        _log.warning("a quicker execution is not taken: it says something else", what=what, cosine=round(cosine, 5))
    return cosine >= COSINE_MIN


def least_cosine(one: Images, other: Images, device: "torch.device", side: int) -> float:
    """Of a few drawn pictures, from coarse to fine, the least cosine between what two executions say of them."""
    import torch

    pictures = patches(side).to(device)
    with torch.inference_mode():
        said, other_said = one(pictures).float(), other(pictures).float()
        return float(torch.nn.functional.cosine_similarity(said, other_said).min())


def fold_norms(model: "torch.nn.Module") -> None:
    """Fold each batch norm into the convolution that stands before it in its block.

    Networks name the two as they like and declare them in the order in which they run; :func:`quicker` checks that
    a network which does not is left as it was.
    """
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for block in list(model.modules()):
        children = list(block.named_children())
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
            if not isinstance(conv, torch.nn.Conv2d) or not isinstance(norm, torch.nn.BatchNorm2d):
                continue
            if norm.num_features == conv.out_channels:
                setattr(block, conv_name, fuse_conv_bn_eval(conv, norm))
                after = (getattr(norm, "drop", None), getattr(norm, "act", None))  # timm's norms act as well
                setattr(block, norm_name, torch.nn.Sequential(*(each for each in after if each is not None)))
