"""The image tower run by ONNX Runtime: a small network spends most of torch's time between its operators.

Torch is still what loads the model, exports the graph and encodes texts.
"""

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
        self.weights_id: str | None = self._session.get_modelmeta().custom_metadata_map.get(WEIGHTS_ID)

    def __call__(self, batch: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.from_numpy(self._session.run(None, {"pixels": batch.contiguous().numpy()})[0])


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


def quantised(folder: Path | None, weights_id: str, threads: int) -> OnnxImages | None:
    """The eight-bit trunk in a model's folder; None without one, without the package, or if it is of other weights."""
    path = folder / QUANTISED if folder else None
    if path is None or not path.exists():
        return None
    try:
        images = OnnxImages(path.read_bytes(), threads)
    except Exception as error:  # not installed, or a file that is none
        _log.warning("the trunk in eight bits is not used", reason=f"{type(error).__name__}: {str(error)[:200]}")
        return None
    if images.weights_id != weights_id:
        _log.warning("the trunk in eight bits is not used", reason="it was made of other weights", file=str(path))
        return None
    return images
