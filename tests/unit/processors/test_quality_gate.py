"""What this installation refuses although it can be read."""

from pathlib import Path

import numpy as np
import pytest

from processors.pictures.blocklist import EVERY_TENANT, BlockEntry, BlockList, BlockListStore
from processors.pictures.gate_settings import GateSettings
from processors.pictures.quality_gate import Gate, open_gate
from processors.pictures.safety import SafetyScorer
from schemas.embeddings import Space
from schemas.errors import PictureBlocked, PictureRejected, QueryAbstained, SettingsError
from topics.store import FileStore

SPACE = Space("test", 4)
HASH = bytes.fromhex("0123456789abcdef")


def test_by_default_nothing_is_refused() -> None:
    Gate().check("shop", ("blank", "small"), HASH)
    Gate().check_vector(np.array([1, 0, 0, 0], np.float32))
    assert GateSettings.from_env({}) == GateSettings()


def test_only_the_flags_that_are_set_refuse() -> None:
    gate = Gate(frozenset({"blank"}))
    gate.check("shop", ("small", "blurred"), HASH)
    with pytest.raises(PictureRejected, match="the picture is blank"):
        gate.check("shop", ("small", "blank"), HASH)


async def test_the_block_list_goes_first_and_is_of_the_tenant(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    BlockListStore(store).add(BlockEntry(HASH.hex(), "shop", (HASH.hex(),), 1, "me"))
    gate = open_gate(GateSettings(frozenset({"blank"}), 1), store, SPACE)
    await gate.refresh()
    near = bytes([HASH[0] ^ 1]) + HASH[1:]
    for phash in (HASH, near):
        with pytest.raises(PictureBlocked, match="0123456789abcdef"):
            gate.check("shop", ("blank",), b"\xff" * 8, phash)
    gate.check("shop", (), bytes([HASH[0] ^ 3]) + HASH[1:])
    gate.check("other", (), HASH)


def test_settings_say_everything_that_is_wrong() -> None:
    settings = GateSettings.from_env({"FRESHLENS_GATE_REJECT": "blank, small,", "FRESHLENS_BLOCKLIST_BITS": "0"})
    assert settings == GateSettings(frozenset({"blank", "small"}), 0)
    with pytest.raises(SettingsError) as wrong:
        GateSettings.from_env(
            {
                "FRESHLENS_GATE_REJECT": "ugly",
                "FRESHLENS_BLOCKLIST_BITS": "17",
                "FRESHLENS_SAFETY_MODEL": "/no/such/file",
            }
        )
    assert len(wrong.value.problems) == 3


def model(file: Path, **changes: object) -> Path:
    arrays = {"weights": np.array([10, 0, 0, 0], np.float32), "bias": -5.0, "threshold": 0.5, "space": "test"}
    np.savez(file, **{**arrays, **changes})  # type: ignore[arg-type]
    return file


def test_a_safety_model_refuses_by_the_embedding(tmp_path: Path) -> None:
    settings = GateSettings(safety_model=model(tmp_path / "model.npz"))
    gate = open_gate(settings, None, SPACE)
    gate.check_vector(np.array([0, 1, 0, 0], np.float32))
    with pytest.raises(PictureRejected, match=r"safety score is 0\.99"):
        gate.check_vector(np.array([1, 0, 0, 0], np.float32))


@pytest.mark.parametrize(
    "changes", [{"space": "other"}, {"weights": np.zeros(3)}, {"weights": np.full(4, np.nan)}, {"bias": "much"}]
)
def test_a_safety_model_of_something_else_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="FRESHLENS_SAFETY_MODEL"):
        SafetyScorer.load(model(tmp_path / "model.npz", **changes), SPACE)
    (tmp_path / "text.npz").write_text("no model")
    with pytest.raises(SettingsError):
        SafetyScorer.load(tmp_path / "text.npz", SPACE)


def test_texts_with_a_sensitive_term_are_not_answered(tmp_path: Path) -> None:
    file = tmp_path / "terms.txt"
    file.write_text("# what we say nothing about\n\n\\bknife\\b\nself.?harm\n")
    gate = open_gate(GateSettings.from_env({"FRESHLENS_SENSITIVE_TERMS": str(file)}), None, SPACE)
    gate.check_text("a penknife")
    for text in ("a KNIFE", "about self-harm"):
        with pytest.raises(QueryAbstained):
            gate.check_text(text)
    Gate().check_text("a knife")
    file.write_text("# nothing at all\n")
    open_gate(GateSettings(sensitive_terms=file), None, SPACE).check_text("")
    file.write_text("(")
    with pytest.raises(SettingsError, match="FRESHLENS_SENSITIVE_TERMS"):
        open_gate(GateSettings(sensitive_terms=file), None, SPACE)


async def test_everybody_is_blocked_by_an_entry_for_all(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    BlockListStore(store).add(BlockEntry(HASH.hex(), EVERY_TENANT, (HASH.hex(),), 1, "me"))
    gate = Gate(blocked=BlockList(store, bits=0))
    await gate.refresh()
    for tenant in ("shop", "other"):
        with pytest.raises(PictureBlocked):
            gate.check(tenant, (), HASH)
