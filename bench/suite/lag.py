"""Reads a sidecar's own measure of how late its event loop is, while a load runs."""

import re
import threading
from types import TracebackType
from typing import Final, Self

from bench.suite.subjects import Subject

INTERVAL_S: Final = 0.5
"""The sidecar measures twice a second."""
LAG: Final = re.compile(r"^spendgate_loop_lag_seconds (\S+)$", re.MULTILINE)


class LagSampler:
    """Scrapes the lag from entering to leaving; `worst_ms` is the worst of what it has seen."""

    def __init__(self, sidecar: Subject) -> None:
        self._sidecar = sidecar
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._seen_ms: list[float] = []

    @property
    def worst_ms(self) -> float:
        """The worst lag seen, milliseconds."""
        return max(self._seen_ms)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        if kind is None:
            self._read()

    def _sample(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            self._read()

    def _read(self) -> None:
        found = LAG.search(self._sidecar.metrics())
        if found is None:
            raise RuntimeError("the sidecar tells no loop lag")
        self._seen_ms.append(float(found[1]) * 1000)
