"""What makes a model quicker without changing what it says: folded norms, channels last, bfloat16 where it is native.

What was tried besides and why it is not here (torch.compile, int8, padding on a processor) stands in
``docs/performance.md``, with times and cosines of all.
"""

import copy
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    import torch

COSINE_MIN = 0.999
"""What a certified space asks of two encoders for the same picture."""
_SAMPLE = 4
_log = structlog.get_logger()


def quicker(model: Any, device: "torch.device", side: int) -> "tuple[Any, torch.dtype]":
    """The model on its device, and the type that its pictures are to have.

    Args:
        model: in evaluation mode, float32; it is changed.
        side: of its pictures, in pixels.
    """
    import torch

    fold_norms(model)
    model = model.to(device=device, memory_format=torch.channels_last)
    if not has_bfloat16(device):
        return model, torch.float32
    half = copy.deepcopy(model).to(torch.bfloat16)
    cosine = least_cosine(model, half, device, side)
    if cosine >= COSINE_MIN:
        return half, torch.bfloat16
    _log.warning("the model stays at float32: in bfloat16 it says something else", cosine=round(cosine, 5))
    return model, torch.float32


def has_bfloat16(device: "torch.device") -> bool:
    """Whether this processor multiplies bfloat16 itself; elsewhere it is slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def least_cosine(one: Any, other: Any, device: "torch.device", side: int) -> float:
    """Of a few drawn pictures, from coarse to fine, the least cosine between what two models say of them."""
    import torch

    noise = torch.Generator().manual_seed(0)
    coarse = [torch.randn(1, 3, 2**grain, 2**grain, generator=noise) for grain in range(1, 1 + _SAMPLE)]
    pictures = torch.cat([torch.nn.functional.interpolate(each, size=(side, side)) for each in coarse]).to(device)
    with torch.inference_mode():
        said = [model.encode_image(pictures.to(next(model.parameters()).dtype)).float() for model in (one, other)]
        return float(torch.nn.functional.cosine_similarity(*said).min())


def fold_norms(model: "torch.nn.Module") -> None:
    """Fold each batch norm into the convolution before it, in blocks that timm builds as ``conv`` and ``bn``."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for block in list(model.modules()):
        conv, norm = getattr(block, "conv", None), getattr(block, "bn", None)
        if isinstance(conv, torch.nn.Conv2d) and isinstance(norm, torch.nn.BatchNorm2d):
            block.conv = fuse_conv_bn_eval(conv, norm)
            after = (getattr(norm, "drop", None), getattr(norm, "act", None))  # timm's norms act as well
            block.bn = torch.nn.Sequential(*(each for each in after if each is not None))
