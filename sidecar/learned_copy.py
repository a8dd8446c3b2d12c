"""The learned outputs on disk: ``<data_dir>/outputs.json``, so that a restart forgets nothing that matters."""

import asyncio
import logging
from pathlib import Path
from typing import Final

import orjson

from ledger.uncut import uncut
from sidecar.learned_outputs import LearnedOutputs
from sidecar.whole_files import put_in_place

COPY_NAME: Final = "outputs.json"
KEEP_INTERVAL_S: Final = 60.0
MAX_COPY_BYTES: Final = 64 * 1024 * 1024

log = logging.getLogger("spendgate.prices")


class LearnedCopy:
    """Keeps what was learned, every minute if there is anything new. Without it estimates begin anew, no more."""

    def __init__(self, data_dir: Path, learned: LearnedOutputs, *, interval_s: float = KEEP_INTERVAL_S) -> None:
        self._path = data_dir / COPY_NAME
        self._learned = learned
        self._interval_s = interval_s
        self._kept_changes = learned.changes
        self._keeping = asyncio.Lock()

    async def load(self) -> None:
        """Take what was kept; what cannot be used is logged and ignored."""
        try:
            self._learned.load(await asyncio.to_thread(_read, self._path))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("the learned outputs %s cannot be used and begin anew: %s", self._path, error)

    async def run(self) -> None:
        """Keep until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.keep()

    async def keep(self) -> None:
        """Write what was learned, if it has changed."""
        async with self._keeping:
            if self._learned.changes == self._kept_changes:
                return
            changes, document = self._learned.changes, self._learned.dump()
            try:
                await uncut(asyncio.to_thread(_write, self._path, document))
            except OSError as error:
                log.warning("the learned outputs could not be kept in %s: %s", self._path, error)
                return
            self._kept_changes = changes


def _read(path: Path) -> object:
    if path.stat().st_size > MAX_COPY_BYTES:
        raise ValueError(f"has more than {MAX_COPY_BYTES} bytes")
    return orjson.loads(path.read_bytes())


def _write(path: Path, document: list[object]) -> None:
    """Replace the file: after a crash at any moment there is the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{COPY_NAME}.new")
    with temporary.open("wb") as file:
        file.write(orjson.dumps(document))
        put_in_place(file, temporary, path)
