"""Recorded traffic; where it lies is PANNIER_TRACES, or ../shared/traces beside the checkout."""
import array
import lzma
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def find(name):
    """The file's path, or None."""
    for directory in (os.environ.get("PANNIER_TRACES"), os.path.join(ROOT, "../shared/traces")):
        if directory and os.path.exists(os.path.join(directory, name)):
            return os.path.join(directory, name)
    return None


def orm_busy(count):
    """Ids of the first requests of cache2k's orm-busy trace (all: count None); None where it is absent."""
    path = find("cache2k_orm-busy.trace.xz")
    if path is None:
        return None
    with lzma.open(path) as f:
        data = f.read(-1 if count is None else 4 * count)
    ids = array.array("I", data[: len(data) // 4 * 4])
    if sys.byteorder == "little":
        ids.byteswap()
    return ids
