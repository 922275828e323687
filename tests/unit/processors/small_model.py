"""A tiny open_clip model with random weights, in a folder as open_clip itself saves them."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 48, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def write_model(folder: Path, *, resize: str, seed: int = 0, tokenizer: dict[str, Any] | None = None) -> None:
    """Write configuration and weights; ``tokenizer``: what its configuration says beside the defaults."""
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "resize_mode": resize}
    text = {**MODEL["text_cfg"], **({"tokenizer_kwargs": tokenizer} if tokenizer else {})}
    config = {"model_cfg": {**MODEL, "text_cfg": text}, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder / "open_clip_model.safetensors")
