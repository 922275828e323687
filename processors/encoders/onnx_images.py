"""The image tower run by ONNX Runtime: a small network spends most of torch's time between its operators.

Torch is still what loads the model, exports the graph and encodes texts.
"""

import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class OnnxImages:
    """``encode_image`` of the model it was made of: (n, 3, side, side) float32 → (n, dim) float32, not normalised."""

    def __init__(self, graph: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores of the decoders beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: "torch.Tensor") -> "torch.Tensor":
        import torch

        return torch.from_numpy(self._session.run(None, {"pixels": batch.contiguous().numpy()})[0])


def exported(model: Any, side: int) -> bytes:
    """The image tower of an open_clip model as an ONNX graph for any number of pictures; takes about a second.

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
            model.visual,
            (torch.zeros(2, 3, side, side),),
            graph,  # type: ignore[arg-type]  # any file
            dynamo=False,  # the other one takes four times as long
            input_names=["pixels"],
            output_names=["vectors"],
            dynamic_axes={"pixels": {0: "pictures"}, "vectors": {0: "pictures"}},
        )
    return graph.getvalue()
