"""`predict.json`: what made the files of a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgebench.errors import ConfigError, DataError
from edgebench.files import read_json, sha256_file, write_json
from edgebench.stages.photos.answers import Answer, Detector
from edgebench.stages.record import code, machine

RECORD = "predict.json"
RECORD_EVERY_SECONDS = 5.0


class Record:
    """`predict.json`: what made the maps of a folder, kept up to date while they are made."""

    def __init__(self, output: Path, detector: Detector, overwrite: bool) -> None:
        self.path = output / RECORD
        weights = None
        if detector.weights is not None:
            weights = {"file": str(detector.weights.resolve()), "sha256": sha256_file(detector.weights)}
        self.content: dict[str, Any] = {"method": detector.method, "settings": detector.settings, "weights": weights}
        self.images: dict[str, dict[str, Any]] = {}
        self.written = time.monotonic()
        self.overwrite = overwrite
        if output.exists() and not output.is_dir():
            raise ConfigError(f"{output}: is a file, where a folder for the maps was expected. Give another name.")
        if self.path.exists():
            self._continue(read_json(self.path), output)

    def _continue(self, before: Any, output: Path) -> None:
        """Keep what is known of maps that were made in the same way; others are in the way."""
        try:
            earlier, images = self._ways(before), before["images"]
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"{self.path}: not a record of edgebench. Give another folder for the maps.") from None
        now = self._ways(self.content)
        differing = [key for key in earlier | now if earlier.get(key) != now.get(key)]
        if not differing:
            self.images = images
        elif not self.overwrite:
            told = ["method"] if "method" in differing else differing  # settings of two methods say nothing
            how = ", ".join(f"{key} {earlier.get(key)}, now {now.get(key)}" for key in told)
            raise ConfigError(
                f"{output}: holds maps that were made differently ({how}). Give another folder, or --overwrite to "
                f"make the maps of these photographs again."
            )

    @staticmethod
    def _ways(content: dict[str, Any]) -> dict[str, Any]:
        """What decides a map; the device does not."""
        settings = {key: value for key, value in content["settings"].items() if key != "device"}
        weights = content["weights"]["sha256"][:10] if content["weights"] else None
        return {"method": content["method"], "weights": weights, **settings}

    def has(self, name: str, photo: Path) -> bool:
        """Whether the maps of `name` were made from this very photograph."""
        return not self.overwrite and name in self.images and self.images[name]["sha256"] == sha256_file(photo)

    def other(self, name: str, photo: Path) -> str | None:
        """The photograph of another place of which the map of `name` was made, if it may not be replaced."""
        if self.overwrite or name not in self.images:
            return None
        made_from: str = self.images[name]["photo"]
        return None if Path(made_from).resolve() == photo.resolve() else made_from

    def add(self, name: str, photo: Path, answer: Answer, seconds: float) -> None:
        """Take down what was made of a photograph."""
        height, width = answer.maps[0].shape
        self.images[name] = {
            "photo": str(photo.resolve()), "sha256": sha256_file(photo), "height": height, "width": width,
            "seconds": round(seconds, 4), **answer.facts,
        }  # fmt: skip
        if time.monotonic() - self.written > RECORD_EVERY_SECONDS:
            self.write({})

    def write(self, failed: dict[str, str]) -> None:
        """Write the record; `failed` holds reasons by photograph."""
        content = {**self.content, "images": self.images, "failed": failed, "code": code(), "machine": machine()}
        write_json(self.path, content)
        self.written = time.monotonic()
