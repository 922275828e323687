"""The encoder that works without a network: an open_clip folder, its no-match thresholds and its model card."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Load it with `open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")`."""
THRESHOLDS = FOLDER / "thresholds.json"
"""Per modality (`image`, `text`): `cosine_min`, below which the best answer is no answer."""
