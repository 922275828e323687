"""Networks run by ONNX Runtime: a small one spends most of torch's time between its operators."""

import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    import torch


class OnnxNetwork:
    """A graph with one input and one output, on the processor. ``threads``: that one call may use."""

    def __init__(self, graph: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores of the decoders beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.facts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n, …) → (n, …), of the types and shapes of the network that was exported."""
        given_back: npt.NDArray[Any] = self._session.run(None, {self._input: given})[0]
        return given_back


def exported(network: Any, example: "torch.Tensor") -> bytes:
    """A network as an ONNX graph for any number of what ``example`` (2, …) has two of; takes about a second.

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
            (example,),
            graph,  # type: ignore[arg-type]  # any file
            dynamo=False,  # the other one takes four times as long
            input_names=["given"],
            output_names=["vectors"],
            dynamic_axes={"given": {0: "count"}, "vectors": {0: "count"}},
        )
    return graph.getvalue()
