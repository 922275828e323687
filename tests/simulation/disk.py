"""An object store in memory that knows what a power failure leaves of it."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.simulation.life import Life
from topics.store import checked_key


class SimDisk:
    """What is written, and which of it would survive. ``folder`` holds copies for what has to be mapped."""

    def __init__(self, folder: Path, random: Random, on_create: Callable[[str], None]) -> None:
        self._random, self._folder, self._on_create = random, folder, on_create
        self.objects: dict[str, bytes] = {}
        self._durable: dict[str, bytes] = {}
        self._copied: set[str] = set()
        self.created: list[str] = []
        """Every key that a create-if-absent ever made, in order."""
        self.removed: set[str] = set()
        """Every key that was ever removed; a power failure may bring it back."""

    def write(self, key: str, data: bytes, *, is_durable: bool) -> None:
        self.objects[checked_key(key)] = data
        if is_durable:
            self._durable[key] = data

    def create(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self.write(key, data, is_durable=True)
        self.created.append(key)
        self._on_create(key)
        return True

    def remove(self, key: str) -> None:
        self.removed.add(key)
        self.objects.pop(key, None)

    def is_durable(self, key: str) -> bool:
        """Whether it is there, and would be after a power failure."""
        return key in self.objects and self._durable.get(key) == self.objects[key]

    def lose_power(self) -> list[str]:
        """Of what was not synced, deletions included, any part is as it was; the keys that went back."""
        back = []
        for key in sorted(self.objects.keys() | self._durable.keys()):
            if self.objects.get(key) == self._durable.get(key):
                continue
            if self._random.random() < 0.5:
                back.append(key)
                self._set(self.objects, key, self._durable.get(key))
            else:
                self._set(self._durable, key, self.objects.get(key))
        return back

    def materialise(self, key: str) -> Path:
        """The folder, as it is now, on a memory file system."""
        below = {name for name in self.objects if name.startswith(f"{key}/")}
        for name in self._copied - below:
            if name.startswith(f"{key}/"):
                (self._folder / name).unlink()
        self._copied = {name for name in self._copied if not name.startswith(f"{key}/")} | below
        for name in below:
            self._copy(name, self.objects[name])
        return self._folder / key

    def _copy(self, name: str, data: bytes) -> None:
        path = self._folder / name
        if path.exists() and path.read_bytes() == data:
            return  # mapped by somebody, perhaps
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    @staticmethod
    def _set(objects: dict[str, bytes], key: str, data: bytes | None) -> None:
        if data is None:
            objects.pop(key, None)
        else:
            objects[key] = data


class SimStore:
    """What one actor sees of the disk: a :class:`topics.store.ObjectStore`."""

    def __init__(self, disk: SimDisk, life: Life) -> None:
        self._disk, self._life = disk, life

    def get(self, key: str) -> bytes:
        return self._life.effect(f"store.get {key}", lambda: self._got(key))

    def put(self, key: str, data: bytes) -> None:
        self._life.effect(f"store.put {key}", lambda: self._disk.write(key, data, is_durable=False))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._life.effect(f"store.put_if_absent {key}", lambda: self._disk.create(key, data))

    def put_file(self, key: str, source: Path) -> None:
        data = source.read_bytes()
        self._life.effect(f"store.put_file {key}", lambda: self._disk.write(key, data, is_durable=True))

    def exists(self, key: str) -> bool:
        return self._life.effect(f"store.exists {key}", lambda: key in self._disk.objects)

    def list(self, prefix: str = "") -> list[str]:
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        return self._life.effect(
            f"store.list {prefix}", lambda: sorted(key for key in self._disk.objects if key.startswith(below))
        )

    def delete(self, key: str) -> None:
        self._life.effect(f"store.delete {key}", lambda: self._disk.remove(key))

    def sweep(self, prefix: str, unchanged_s: float) -> None:
        pass  # a write that was cut off leaves nothing here

    def local_folder(self, key: str, check: Callable[[Path], None]) -> Path:
        folder = self._life.effect(f"store.local_folder {key}", lambda: self._disk.materialise(key))
        check(folder)
        return folder

    def _got(self, key: str) -> bytes:
        if key not in self._disk.objects:
            raise FileNotFoundError(key)
        return self._disk.objects[key]
