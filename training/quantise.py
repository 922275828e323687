"""The image tower's trunk in eight bits, for processors: `python -m training.quantise MODEL --pictures DIR`.

Twice as quick, and nearly the same answers: weights are rounded per channel, what flows between layers by the ranges
seen in pictures of the catalogue. That is the trunk; the projection after it stays with the model, in float32: to round
the vector itself costs more agreement than all the rest. The file stands beside the weights that it was made of, names
them, and is served only with them.
"""

from __future__ import annotations

import argparse
import base64
import copy
import tempfile
from pathlib import Path

import numpy as np
import onnx
import open_clip
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from processors.encoders.onnx_images import KNOWN_ANSWERS, QUANTISED, WEIGHTS_ID, OnnxImages, patches
from processors.encoders.onnx_network import exported
from processors.encoders.open_clip_encoder import encoder_id, picture_form
from processors.encoders.precision import INT8_COSINE_MIN, fold_norms
from processors.pictures.decode import decode

_BATCH = 8


def write_quantised(folder: Path, pictures: NDArray[np.uint8]) -> float:
    """Write the eight-bit trunk of the open_clip model in `folder`, whose image tower is a network of timm.

    Args:
        pictures: (n, side, side, 3) uint8 in the model's form, of the kinds that will be asked about; some hundreds.
            Ranges are taken from four fifths of them, agreement from the rest.

    Returns:
        The least cosine between float32 and eight bits.

    Raises:
        ValueError: it is below INT8_COSINE_MIN; nothing is written.
    """
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    form = open_clip.get_model_preprocess_cfg(model)
    weights_id = encoder_id(model.state_dict(), form)
    folded = copy.deepcopy(model.eval())
    fold_norms(folded)
    mean, std = (torch.tensor(form[name]).view(1, 3, 1, 1) * 255 for name in ("mean", "std"))
    given = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - mean) / std
    judged = np.arange(len(given)) % 5 == 0
    made = quantised(exported(folded.visual.trunk, given[:2]), given[~judged])
    with torch.inference_mode():
        trunk = OnnxImages(shifted(made), torch.get_num_threads())  # exact on every processor
        rounded = folded.visual.head(trunk(given[judged]))
        cosine = float(torch.nn.functional.cosine_similarity(folded.encode_image(given[judged]), rounded).min())
    if cosine < INT8_COSINE_MIN:
        raise ValueError(f"eight bits agree with float32 to {cosine:.4f} only, at least {INT8_COSINE_MIN} is due")
    known = trunk(patches(pictures.shape[1])).numpy().tobytes()
    graph = onnx.load_from_string(made)
    graph.metadata_props.add(key=WEIGHTS_ID, value=weights_id)
    graph.metadata_props.add(key=KNOWN_ANSWERS, value=base64.b64encode(known).decode())
    onnx.save(graph, folder / QUANTISED)
    return cosine


def quantised(graph: bytes, given: torch.Tensor) -> bytes:
    """The graph in eight bits; `given` (n, 3, side, side) float32 are typical pictures, as the network takes them."""
    with tempfile.TemporaryDirectory() as name:
        plain, ready, made = (Path(name) / f"{step}.onnx" for step in ("plain", "ready", "made"))
        plain.write_bytes(graph)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            made,
            _Seen(given),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return made.read_bytes()


def shifted(graph: bytes) -> bytes:
    """The graph with weights of 0..255 instead of -128..127, and the zero shifted as well, so that it says the same.

    They do not overflow where a processor multiplies in sixteen bits, so this one is exact everywhere, though slower
    than float32 there; one that multiplies eight bits itself is quicker with the other.
    """
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8:  # a weight, or where its zero lies
            values = onnx.numpy_helper.to_array(tensor).astype(np.int16) + 128
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.uint8), tensor.name))
    return bytes(model.SerializeToString())


class _Seen(CalibrationDataReader):  # type: ignore[misc]  # untyped
    def __init__(self, given: torch.Tensor) -> None:
        self._batches = iter(given.split(_BATCH))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"given": batch.numpy()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="an open_clip folder")
    parser.add_argument("--pictures", type=Path, required=True, help="a folder with pictures of the catalogue")
    parser.add_argument("--most", type=int, default=512, help="how many of them are looked at")
    given = parser.parse_args()
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{given.model}")
    form = picture_form(open_clip.get_model_preprocess_cfg(model))
    paths = sorted(path for path in given.pictures.rglob("*") if path.is_file())
    step = max(1, len(paths) // given.most)
    cosine = write_quantised(given.model, np.stack([decode(path.read_bytes(), form).pixels for path in paths[::step]]))
    print(f"{given.model / QUANTISED}: least cosine to float32 {cosine:.4f}")


if __name__ == "__main__":
    main()
