"""The versions of a model in a base folder: which are served, and how one follows another without a gap.

A version is a folder named by a whole number with a `saved_model.pb`. A new one is loaded and warmed up beside the
served one, takes over between two requests, and the old one is unloaded when its last request is answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.transforms.serving.loaded_model import LoadedModel
from headrace.transforms.serving.model_folder import Mark, model_folder
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.warmup import warm_up

logger = logging.getLogger(__name__)
State = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
# "latest", "all", or the versions themselves.
Policy = str | tuple[int, ...]


@dataclass(eq=False)
class Version:
    """One version.

    Args:
        number: Its number.
        state: As TensorFlow Serving's ModelVersionStatus.
        model: The loaded model, while it is.
        error: Why it could not be loaded.
        in_use: Requests that are being answered by it.
        mark: What its file was when it was last tried, to see whether trying again is worth it.
    """

    number: int
    state: State = "START"
    model: LoadedModel | None = None
    error: str = ""
    in_use: int = 0
    mark: Mark = ()

    @property
    def is_served(self) -> bool:
        return self.state == "AVAILABLE"


class Versions:
    """The versions of one model; to be used in one event loop.

    Args:
        name: The model's name.
        path: The base folder or its URL, or one SavedModel's: then that is the only version, 1 if its name is no
            number.
        policy: "latest", "all", or the versions to serve.
        labels: Versions by label.
        threads: Threads of one call of the model.
        on_unload: Called with a model before it is closed.

    Raises:
        FileNotFoundError: There is no such folder.
        OSError: The URL cannot be read.
    """

    def __init__(
        self,
        name: str,
        path: Path | str,
        *,
        policy: Policy = "latest",
        labels: Mapping[str, int] | None = None,
        threads: int | None = None,
        on_unload: Callable[[LoadedModel], None] = lambda model: None,
    ) -> None:
        self._folder = model_folder(path)
        self.name, self.policy, self.labels = name, policy, dict(labels or {})
        self._threads, self._on_unload = threads, on_unload
        self._known: dict[int, Version] = {}

    def all(self) -> list[Version]:
        """Every version that was ever wanted, highest first."""
        return sorted(self._known.values(), key=lambda version: -version.number)

    def served(self) -> list[Version]:
        """The versions that answer requests, highest first."""
        return [version for version in self.all() if version.is_served]

    def pick(self, number: int | None = None, label: str | None = None) -> Version:
        """The version that answers a request: the highest, unless it asks for one.

        Raises:
            RequestError: It is not served (404).
        """
        if label is not None:
            if label not in self.labels:
                there = ", ".join(self.labels) or "none"
                raise RequestError(f"Unrecognized servable version label: {label}; there are {there}", 404)
            number = self.labels[label]
        served = self.served()
        for version in served:
            if number is None or version.number == number:
                return version
        asked = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
        there = f"; served: {', '.join(str(version.number) for version in served)}" if served else ""
        raise RequestError(f"Servable not found for request: {asked}{there}", 404 if served or number else 503)

    @contextmanager
    def use(self, number: int | None = None, label: str | None = None) -> Iterator[Version]:
        """Holds a version while a request is answered: it is not unloaded before."""
        version = self.pick(number, label)
        version.in_use += 1
        try:
            yield version
        finally:
            version.in_use -= 1

    async def refresh(self) -> None:
        """Looks at the folder once: loads what is wanted, then unloads what no longer is."""
        there = await asyncio.to_thread(self._folder.versions)
        wanted = self._wanted(there)
        for number in sorted(wanted):
            await self._load(number)
        loaded = [number for number in wanted if self._known[number].is_served]
        if self.policy == "latest" and not loaded and not self.served():
            for number in sorted(there - wanted, reverse=True):
                await self._load(number)
                if self._known[number].is_served:
                    break
        # What is served goes on being served until something wanted is there to follow it.
        if loaded:
            for version in self.served():
                if version.number not in wanted:
                    await self._unload(version)

    async def watch(self, poll: float) -> None:
        """Looks at the folder again and again.

        Args:
            poll: Seconds between two looks.
        """
        while True:
            await asyncio.sleep(poll)
            try:
                await self.refresh()
            except OSError as error:
                logger.warning("%s cannot be read; what is loaded goes on being served: %s", self._folder, error)

    async def close(self) -> None:
        """Unloads all versions, each after its last request."""
        for version in self.served():
            await self._unload(version)
        await asyncio.to_thread(self._folder.close)

    def _wanted(self, there: set[int]) -> set[int]:
        if self.policy == "all":
            return there
        if self.policy == "latest":
            return {max(there)} if there else set()
        return {int(number) for number in self.policy} & there

    async def _load(self, number: int) -> None:
        version = self._known.get(number)
        if version is not None and version.is_served:
            return
        mark = await asyncio.to_thread(self._folder.mark, number)
        if version is not None and version.error and version.mark == mark:
            return
        version = self._known[number] = Version(number, "LOADING", mark=mark)
        try:
            folder = await asyncio.to_thread(self._folder.take, number)
            version.model = await asyncio.to_thread(_loaded, folder, self._threads)
        except (OSError, ValueError) as error:
            await asyncio.to_thread(self._folder.give_back, number)
            version.state, version.error = "END", str(error)
            logger.error("version %d of %s cannot be served: %s", number, self.name, error)
            return
        version.state = "AVAILABLE"
        logger.info("version %d of %s is served", number, self.name)

    async def _unload(self, version: Version) -> None:
        version.state = "UNLOADING"
        while version.in_use:
            await asyncio.sleep(0.01)
        model, version.model = version.model, None
        if model is not None:
            self._on_unload(model)
            await asyncio.to_thread(model.close)
        await asyncio.to_thread(self._folder.give_back, version.number)
        version.state = "END"
        logger.info("version %d of %s is unloaded", version.number, self.name)


def _loaded(folder: Path, threads: int | None) -> LoadedModel:
    model = LoadedModel(folder, threads=threads)
    try:
        warm_up(model)
    except ValueError:
        model.close()
        raise
    return model
