"""The image tower run by ONNX Runtime: a small network spends most of torch's time between its operators.

Torch is still what loads the model, exports the graph and encodes texts.
"""

import base64
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

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


class OnnxImages:
    """The network it was made of: (n, 3, side, side) float32 → (n, width) float32."""

    def __init__(self, graph: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores of the decoders beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.facts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, batch: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.from_numpy(self._session.run(None, {"pixels": batch.contiguous().numpy()})[0])


def patches(side: int) -> "torch.Tensor":
    """(4, 3, side, side) float32: noise in patches, from coarse to fine, the same everywhere.

    Fewer than eight patches a side would be a picture of nothing, which says little in any precision.
    """
    import torch

    noise = torch.Generator().manual_seed(0)
    coarse = [torch.randn(1, 3, 2**grain, 2**grain, generator=noise) for grain in _GRAINS]
    return torch.cat([torch.nn.functional.interpolate(each, size=(side, side)) for each in coarse])


def exported(network: Any, side: int) -> bytes:
    """A network of pictures as an ONNX graph for any number of them; takes about a second.

    Raises:
        ModuleNotFoundError: onnx is not installed.
        Exception: what the exporter raises of a network that it cannot express.
    """
    import onnx  # noqa: F401  # the exporter needs it and would say so less clearly
    import torch

    graph = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing and of the exporter's own future
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, side, side),),
            graph,  # type: ignore[arg-type]  # any file
            dynamo=False,  # the other one takes four times as long
            input_names=["pixels"],
            output_names=["vectors"],
            dynamic_axes={"pixels": {0: "pictures"}, "vectors": {0: "pictures"}},
        )
    return graph.getvalue()


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
