"""Which versions of a model are served: the latest that loads, and those with a label."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from grpc import StatusCode

from feature_specs.errors import ColonnadeError
from serving.server.errors import CODES, ServingError
from serving.server.folders import Look, check_export, missing_from, versions_in
from serving.server.options import Options
from serving.server.servable import Servable
from serving.server.warmup import warm_up

_log = logging.getLogger("serving.server")


class Status(NamedTuple):
    """Of a version, in TF Serving's words: LOADING, AVAILABLE, UNLOADING or END, and the error that it ended with."""

    state: str
    code: StatusCode = StatusCode.OK
    message: str = ""


class ModelManager:
    """Loads versions in a thread of its own, switches to the new one at once, and unloads the old one after its last request.

    A version that cannot be loaded leaves the one before it serving, and is tried again when its files change.

    Args:
        export_dir: A base folder of versions, or one version.
        name: Of the model.
        options: Of the server.
        observe: Is told the rows of each run of the model.
    """

    def __init__(self, export_dir: Path, name: str, options: Options, observe: Callable[[int], None]) -> None:
        self.name = name
        self._path, self._options, self._observe = export_dir, options, observe
        self._lock = threading.Lock()  # of what follows
        self._serving: dict[int, Servable] = {}
        self._latest: int | None = None
        self._statuses: dict[int, Status] = {}
        self._retired: list[Servable] = []
        self._looks: dict[int, Look] = {}  # at the files of each version, when it was loaded or refused
        self._seen: dict[int, tuple[Look, float]] = {}  # the last look at each version, and when its files were first as they are
        self._changing: set[int] = set()  # versions that seem to be copied just now
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Loads the first version, then watches for others.

        Raises:
            ColonnadeError: There is none, or none can be loaded.
        """
        check_export(self._path)
        self.look()
        while not self._serving and self._changing and not self._stopping.wait(min(self._options.poll_seconds, 0.2)):
            self.look()
        if not self._serving:
            number, status = max(self._statuses.items())
            raise ColonnadeError(
                f"Version {number} of {str(self._path)!r} cannot be loaded: {status.message} Copy it again, or export again."
            )
        for label, number in self._options.version_labels.items():
            if number not in self._serving:
                _log.warning("Label %r is of version %d, which is not served until %s has it.", label, number, self._path)
        self._thread.start()

    def stop(self) -> None:
        """Stops watching and unloads everything; no request may be in flight."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._retired += self._serving.values()
            self._serving = {}
        for servable in self._retired:
            servable.retire()
            servable.close_if_idle()

    @contextmanager
    def use(self, spec: Any) -> Iterator[Servable]:  # noqa: ANN401 (a protocol buffer)
        """Gives the version that a ModelSpec asks for, which stays loaded meanwhile.

        Raises:
            ServingError: The model, version or label is not served.
        """
        with self._lock:
            number = self._number(spec)
            servable = self._serving.get(number) if spec.name == self.name and number is not None else None
            if servable is None or not servable.enter():
                name = spec.name[:100]
                asked = f"Specific({name}, {number})" if spec.WhichOneof("version_choice") else f"Latest({name})"
                served = ", ".join(map(str, sorted(self._serving))) or "none"
                message = f"Servable not found for request: {asked}. Served are model {self.name!r}, versions: {served}."
                raise ServingError(StatusCode.NOT_FOUND, message)
        try:
            yield servable
        finally:
            servable.leave()

    def statuses(self, spec: Any) -> dict[int, Status]:  # noqa: ANN401 (a protocol buffer)
        """Returns the states of all versions, or of the one that a ModelSpec names.

        Raises:
            ServingError: The model or version is unknown.
        """
        if spec.name != self.name:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name[:100]}")
        with self._lock:
            number = None if spec.WhichOneof("version_choice") is None else self._number(spec)
            found = {key: status for key, status in sorted(self._statuses.items(), reverse=True) if number in (None, key)}
        if not found:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {number} of model {self.name}")
        return found

    @property
    def latest(self) -> int | None:
        """The version that requests without a number get."""
        return self._latest

    def newest(self) -> Servable:
        """Returns the version that requests without a number get."""
        with self._lock:
            return self._serving[self._latest or 0]

    def look(self) -> None:
        """Compares the folder with what is served, loads what is new and unloads what is no longer wanted."""
        self._close_retired()
        folders = versions_in(self._path)
        if not folders:
            return  # keeps what it has: an empty or unreachable folder is rather a mistake than a wish
        self._changing.clear()
        good: set[int] = set()
        latest = None
        for number in sorted(folders, reverse=True):
            if self._is_good(number, folders[number]):
                good.add(number)
                latest = number
                break
        for number in set(self._options.version_labels.values()) & set(folders) - good:
            if self._is_good(number, folders[number]):
                good.add(number)
        if latest is None:
            return
        with self._lock:
            self._latest = latest
            for number in set(self._serving) - good:
                self._retire(self._serving.pop(number))
        for number in set(self._looks) - set(folders):
            del self._looks[number]
        for number in set(self._seen) - set(folders):
            del self._seen[number]
        self._close_retired()

    def _watch(self) -> None:
        while not self._stopping.wait(self._options.poll_seconds):
            try:
                self.look()
            except Exception:
                _log.exception("Looking for new versions failed; the next look is in %g seconds.", self._options.poll_seconds)

    def _number(self, spec: Any) -> int | None:  # noqa: ANN401 (a protocol buffer)
        """Returns the version that a ModelSpec means."""
        if not spec.name:
            raise ServingError(StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return spec.version.value
        if choice is None or spec.name != self.name:
            return self._latest
        number = self._options.version_labels.get(spec.version_label)
        if number is None:
            known = ", ".join(sorted(self._options.version_labels)) or "none (see --version_labels)"
            message = f"Unrecognized servable version label: {spec.version_label[:100]}. There are: {known}."
            raise ServingError(StatusCode.INVALID_ARGUMENT, message)
        return number

    def _is_good(self, number: int, path: Path) -> bool:
        """Tells whether a version is served, after loading it where it is new or changed."""
        look = Look.at(path)
        is_served = number in self._serving
        if self._looks.get(number) == look:
            return is_served
        if not self._has_rested(number, look):
            self._changing.add(number)
            if not is_served:
                self._set(number, Status("START", StatusCode.UNAVAILABLE, "Its files still change."))
            return is_served
        missing = missing_from(path)
        if missing is not None:
            self._looks[number] = look
            if not is_served:
                self._set(number, Status("START", StatusCode.UNAVAILABLE, f"It is not complete: {missing}."))
            _log.warning("Version %d of %s is not complete%s: %s.", number, self._path, _kept(self._latest), missing)
            return is_served
        return self._load(number, path, look) or is_served

    def _has_rested(self, number: int, look: Look) -> bool:
        """Tells whether a version's files have been left alone, by their own times or, where those are off, by ours."""
        seen, since = self._seen.get(number, (None, 0.0))
        now = time.monotonic()
        if seen != look:
            since = now
            self._seen[number] = (look, since)
        return now - since >= self._options.poll_seconds or look.rested(self._options.poll_seconds)

    def _load(self, number: int, path: Path, look: Look) -> bool:
        is_served = number in self._serving
        if not is_served:
            self._set(number, Status("LOADING"))
        servable = None
        try:
            servable = Servable(path, number, self._options, self._observe)
            warm_up(servable, self._options.deadline_seconds)
        except Exception as error:  # of many kinds: whatever broken files make TensorFlow raise
            self._looks[number] = look
            code = error.code if isinstance(error, ServingError) else CODES.get(getattr(error, "error_code", 2), StatusCode.UNKNOWN)
            message = " ".join(str(error).split())[:500].rstrip(".") + "."
            if not is_served:
                self._set(number, Status("END", code, message))
            _log.error("Version %d of %s cannot be loaded%s: %s", number, self._path, _kept(self._latest), message)
            self._drop(servable)
            return False
        if Look.at(path) != look:
            # What was read may be of both the old files and the new ones.
            self._drop(servable)
            self._changing.add(number)
            return False
        self._looks[number] = look
        with self._lock:
            if is_served:
                self._retire(self._serving[number], is_replaced=True)
            self._serving[number] = servable
            self._statuses[number] = Status("AVAILABLE")
        _log.info("Version %d of %s is served.", number, self._path)
        return True

    def _set(self, number: int, status: Status) -> None:
        with self._lock:
            self._statuses[number] = status

    def _retire(self, servable: Servable, is_replaced: bool = False) -> None:
        servable.retire()
        self._retired.append(servable)
        if not is_replaced:
            self._statuses[servable.number] = Status("UNLOADING")

    def _drop(self, servable: Servable | None) -> None:
        if servable is not None:
            servable.retire()
            servable.close_if_idle()

    def _close_retired(self) -> None:
        closed = [servable for servable in self._retired if servable.close_if_idle()]
        with self._lock:
            self._retired = [servable for servable in self._retired if servable not in closed]
            for servable in closed:
                if servable.number not in self._serving:
                    self._looks.pop(servable.number, None)
                    self._statuses[servable.number] = Status("END")


def _kept(latest: int | None) -> str:
    return "" if latest is None else f", version {latest} is kept"
