"""Files out of the system's page cache, so that who reads them next waits for the disk; Linux."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TRIES = 3  # a page that another process looks at meanwhile stays


def dropped(files: Iterable[Path]) -> bool:
    """Asks the system to forget the files' content; whether it has, which the last page of each tells.

    What lies in memory by its nature (tmpfs), or is in use by another process, stays.
    """
    kept = [path for path in files if path.stat().st_size and not any(_dropped(path) for _ in range(_TRIES))]
    return not kept


def _dropped(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)  # what is not on the disk yet cannot be forgotten
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.preadv(file, [bytearray(1)], path.stat().st_size - 1, os.RWF_NOWAIT)
    except BlockingIOError:  # it would have to wait for the disk
        return True
    except OSError:  # a file system that cannot say
        return False
    finally:
        os.close(file)
    return False
