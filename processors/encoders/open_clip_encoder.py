"""Encoders by open_clip: the bundled model, any model and pretrained tag it knows, or a local checkpoint folder.

Torch is imported only when a model is loaded for the first time (:mod:`kept_model`): asking for a space does not need
it, for ``bundled`` and ``none:*``.
"""

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from processors import bundled
from processors.encoders import cores, kept_model
from processors.encoders.batching import bucket
from processors.encoders.encoder import Encoder, PictureForm, Pixels
from processors.encoders.kept_model import Facts, Graphs
from processors.encoders.onnx_images import QUANTISED, quantised
from processors.encoders.onnx_network import exported
from processors.encoders.precision import quicker
from schemas.embeddings import Space, Vector
from schemas.errors import EncoderFailed, SettingsError

if TYPE_CHECKING:
    import torch

BUNDLED = "bundled"
VECTORS_ONLY = "none"
AUTO = "auto"
_CONFIG = "open_clip_config.json"
_WEIGHTS = (".safetensors", ".bin")
_GPU_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""NVIDIA's, AMD's, and Windows' own to its Linux."""


def space_of(name: str) -> Space:
    """The embedding space of an encoder setting; see :func:`load_encoder` for the names.

    Raises:
        SettingsError: no such encoder.
    """
    if is_vectors_only(name):
        return _vectors_only_space(name)
    if folder := _folder(name):
        return _space_of_folder(folder)
    model, tag = _model_and_tag(name)
    return Space(f"{model}/{tag}", int(_known_config(model)["embed_dim"]))


def is_vectors_only(name: str) -> bool:
    """Whether the setting is ``none:DIM``: a lane whose products bring their own vectors."""
    return name.partition(":")[0] == VECTORS_ONLY


def load_encoder(name: str, *, threads: int | None = None, device: str = AUTO, kept_in: Path | None = None) -> Encoder:
    """Load a model; takes seconds, and memory by the model.

    Args:
        name: ``bundled``; ``none:DIM`` (it encodes nothing); ``MODEL/TAG`` as open_clip lists them, downloaded where
            there is a network; or the path of a folder with a configuration and weights.
        threads: of the processor; None: one per core; 0: as many as leave room for decoders beside it.
        device: ``auto`` (a GPU where there is one), ``cpu``, or a GPU by torch's name, such as ``cuda:1``.
        kept_in: where small models of a folder are kept, so that the next process runs them without torch.

    Raises:
        SettingsError: no such encoder, or it cannot be loaded.
    """
    if is_vectors_only(name):
        return VectorsOnly(_vectors_only_space(name))
    try:
        if kept_in is None or not (folder := _folder(name)) or _may_have_gpu(device):
            return _load(name, threads, device)
        return _kept(name, threads, device, kept_model.place_of(_files(folder), kept_in))
    except SettingsError:
        raise
    except Exception as error:  # a download, a file, or the model's own code
        raise SettingsError(f"FRESHLENS_ENCODER={name!r} cannot be loaded: {type(error).__name__}: {error}") from error


class VectorsOnly:
    """The encoder of a lane without one: it has a space and refuses to encode."""

    encoder_id = "none"
    form = PictureForm(8)

    def __init__(self, space: Space) -> None:
        self.space = space

    def encode_images(self, pictures: Pixels) -> Vector:
        raise EncoderFailed(f"lane {self.space} has no encoder: it takes vectors, not {len(pictures)} pictures")

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        raise EncoderFailed(f"lane {self.space} has no encoder: it takes vectors, not {len(texts)} texts")

    def count_tokens(self, text: str) -> tuple[int, int]:  # noqa: ARG002  # the protocol's
        return 0, 0


class OpenClipEncoder:
    """An open_clip model in evaluation mode, in the quickest execution that agrees with it.

    On a GPU batches are padded to powers of two, since each new shape costs a search for its kernels. On a processor
    padding only costs: there a batch takes as long as it has pictures.

    Args:
        folder: where the model lies; an image tower in eight bits may lie beside its weights.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        space: Space,
        *,
        threads: int | None = None,
        device: str = AUTO,
        folder: Path | None = None,
    ) -> None:
        import open_clip
        import torch

        self._image_parameters = sum(weights.numel() for weights in model.visual.parameters())
        self.threads = cores.threads(threads, self._image_parameters)
        torch.set_num_threads(self.threads)
        preprocess = open_clip.get_model_preprocess_cfg(model)
        self.space = space
        self.form = picture_form(preprocess)
        self.encoder_id = encoder_id(model.state_dict(), preprocess)
        self._device = torch_device(device)
        self._is_padded = self._device.type == "cuda"
        torch.backends.cudnn.benchmark = self._is_padded
        int8 = quantised(folder, self.encoder_id, self.form.size, self.threads)
        execution = quicker(model.eval(), self._device, self.form.size, self.threads, int8=int8)
        self._model, self._images, self.precision = execution.model, execution.images, execution.precision
        self._image_graphs, self._tokenizer = execution.graphs, tokenizer
        self._mean = torch.tensor(preprocess["mean"], device=self._device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(preprocess["std"], device=self._device).view(1, 3, 1, 1) * 255

    def encode_images(self, pictures: Pixels) -> Vector:
        import torch

        size, count = self.form.size, len(pictures)
        assert pictures.shape[1:] == (size, size, 3), pictures.shape
        assert pictures.dtype == np.uint8, pictures.dtype
        if self._is_padded and (missing := bucket(count) - count):
            pictures = np.concatenate([pictures, np.zeros((missing, size, size, 3), np.uint8)])
        with torch.inference_mode():
            # Pixels from a decoder are read-only, which torch does not have. Channels stay last: the model wants it so.
            given = torch.from_numpy(pictures if pictures.flags.writeable else pictures.copy()).to(self._device)
            batch = given.permute(0, 3, 1, 2).float().sub_(self._mean).div_(self._std)
            return self._encoded(lambda: self._images(batch))[:count]

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        import torch

        with torch.inference_mode():
            return self._encoded(lambda: self._model.encode_text(self._tokenizer(list(texts)).to(self._device)))

    def count_tokens(self, text: str) -> tuple[int, int]:
        """How many of a text's tokens the model sees, and how many lie beyond its context (of which 4,096 count)."""
        from processors.encoders.tokens import COUNTED_MAX

        context = self._tokenizer([""]).shape[1]
        tokens = self._tokenizer([text], context_length=COUNTED_MAX)[0]
        used = int((tokens != tokens[-1]).sum())
        return min(used, context), max(0, used - context)

    def graphs(self) -> Graphs | None:
        """Both towers as they are run here, for :func:`kept_model.keep`; None where pictures are not ONNX Runtime's."""
        import open_clip
        import torch

        if self._image_graphs is None or type(self._tokenizer) is not open_clip.SimpleTokenizer:
            return None
        example = self._tokenizer(["a", "b"])
        facts = Facts(
            encoder_id=self.encoder_id,
            precision=self.precision,
            form=self.form,
            mean=tuple(self._mean.flatten().tolist()),
            std=tuple(self._std.flatten().tolist()),
            context=example.shape[1],
            image_parameters=self._image_parameters,
        )
        with torch.no_grad():
            return Graphs(facts, self._image_graphs(), exported(_text_tower(self._model), example))

    def _encoded(self, run: "Callable[[], torch.Tensor]") -> Vector:
        import torch

        try:
            vectors = torch.nn.functional.normalize(run().float(), dim=-1).cpu().numpy()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError(f"the model does not fit: {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # whatever the model's own code raises
            raise EncoderFailed(f"the model failed: {type(error).__name__}: {error}") from error
        if not np.isfinite(vectors).all():
            raise EncoderFailed("the model gave a value that is not finite")
        return np.ascontiguousarray(vectors, dtype=np.float32)


def encoder_id(weights: "dict[str, torch.Tensor]", preprocess: dict[str, Any]) -> str:
    """BLAKE2b-128 of weights and preprocessing, hexadecimal: what a cached vector depends on."""
    hasher = blake2b(digest_size=16)
    hasher.update(json.dumps(preprocess, sort_keys=True, default=str).encode())
    for name, tensor in sorted(weights.items()):
        hasher.update(name.encode())
        hasher.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return hasher.hexdigest()


def _load(name: str, threads: int | None, device: str) -> OpenClipEncoder:
    import open_clip

    folder = _folder(name)
    model_name, tag = (f"local-dir:{folder}", None) if folder else _model_and_tag(name)
    model, _, _ = open_clip.create_model_and_transforms(model_name, pretrained=tag)
    tokenizer = open_clip.get_tokenizer(model_name)
    return OpenClipEncoder(model, tokenizer, space_of(name), threads=threads, device=device, folder=folder)


def _kept(name: str, threads: int | None, device: str, place: Path) -> Encoder:
    """The model that is kept there; loaded and kept where it is not."""
    if kept := kept_model.opened(place, space_of(name), threads):
        return kept
    encoder = _load(name, threads, device)
    kept_model.keep(encoder, place)
    return encoder


def _files(folder: Path) -> list[Path]:
    """What a model is made of."""
    return [path for path in folder.iterdir() if path.name in (_CONFIG, QUANTISED) or path.suffix in _WEIGHTS]


def _may_have_gpu(device: str) -> bool:
    """Whether torch has to say what this setting means, being asked for more than ``cpu`` where there may be more."""
    return device != "cpu" and (device != AUTO or any(path.exists() for path in _GPU_DRIVERS))


def _text_tower(model: Any) -> "torch.nn.Module":
    import torch

    class TextTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: "torch.Tensor") -> "torch.Tensor":
            return cast("torch.Tensor", self.model.encode_text(tokens))

    return TextTower()


def torch_device(name: str) -> "torch.device":
    """The device of a setting: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; raises SettingsError if it is not here."""
    import torch

    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SettingsError(f"FRESHLENS_ENCODER_DEVICE={name!r} must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"FRESHLENS_ENCODER_DEVICE={name!r}: torch sees {torch.cuda.device_count()} GPUs here")
    return device


def _folder(name: str) -> Path | None:
    if name == BUNDLED:
        return bundled.FOLDER
    path = Path(name).expanduser()
    return path.resolve() if path.is_dir() else None


def _space_of_folder(folder: Path) -> Space:
    """The space that the folder's configuration names, else one named after its weights: others, another space."""
    try:
        config = json.loads((folder / _CONFIG).read_text())
        dim = int(config["model_cfg"]["embed_dim"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SettingsError(f"{folder} is no model: {_CONFIG} cannot be read: {error}") from error
    if "space" in config:
        return Space(str(config["space"]), dim)
    hasher = blake2b(digest_size=4)
    for weights in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.bin")):
        hasher.update(weights.read_bytes())
    return Space(f"{folder.name}-{hasher.hexdigest()}", dim)


def _vectors_only_space(name: str) -> Space:
    try:
        return Space.parse(name)
    except ValueError as error:
        raise SettingsError(f"FRESHLENS_ENCODER: {error}") from None


def _model_and_tag(name: str) -> tuple[str, str]:
    model, slash, tag = name.rpartition("/")
    if not slash or not model or not tag:
        raise SettingsError(
            f"FRESHLENS_ENCODER={name!r} must be bundled, none:DIM, MODEL/TAG of open_clip, or an existing folder"
        )
    return model, tag


def _known_config(model: str) -> dict[str, Any]:
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(model)
    if config is None:
        raise SettingsError(f"FRESHLENS_ENCODER: open_clip has no model {model!r}")
    return config


def picture_form(preprocess: dict[str, Any]) -> PictureForm:
    """The form of a model's pictures, from what open_clip calls its preprocessing configuration."""
    size = preprocess["size"]
    resize: Literal["shortest", "longest", "squash"] = preprocess["resize_mode"]
    interpolation: Literal["bicubic", "bilinear"] = (
        "bilinear" if preprocess["interpolation"] == "bilinear" else "bicubic"
    )
    side = size if isinstance(size, int) else size[0]
    return PictureForm(int(side), resize, interpolation, int(preprocess.get("fill_color", 0)))
