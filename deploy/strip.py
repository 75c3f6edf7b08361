"""Take out of shared libraries what no process loads: symbols and debugging information.

Some wheels bring more of it than of code (uvloop 11 of 13 MB, zstandard 21 of 23). An image's build
stage runs this; it needs the standard library only, for the base has no binutils. A library is
loaded by its program headers, so what comes behind the last of the parts that they name goes, and
with it the table of sections, which linkers and debuggers read.

    python strip.py FOLDER
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

# Of a header of 64 bits, little-endian, which all platforms of the images have.
MAGIC = b"\x7fELF\x02\x01"
PHOFF, SHOFF, PHENTSIZE, SHENTSIZE = 0x20, 0x28, 0x36, 0x3A
HEADER = 0x40
OFFSET, FILE_SIZE = 8, 32  # in a program header


def main() -> None:
    """Strip every shared library below a folder."""
    files = [path for path in Path(sys.argv[1]).rglob("*.so*") if path.is_file()]
    saved = sum(strip_file(path) for path in files if not path.is_symlink())
    print(f"strip: {saved / 2**20:.0f} MiB less")


def strip_file(path: Path) -> int:
    """Strip a shared library in its place; return how many bytes less it has."""
    content = path.read_bytes()
    stripped = strip(content)
    if len(stripped) < len(content):
        path.write_bytes(stripped)
    return len(content) - len(stripped)


def strip(content: bytes) -> bytes:
    """Return a shared library without what nothing loads; what is none stays as it is."""
    if not content.startswith(MAGIC) or len(content) < HEADER:
        return content
    (start,) = struct.unpack_from("<Q", content, PHOFF)
    size, count = struct.unpack_from("<HH", content, PHENTSIZE)
    ends = [HEADER, start + size * count]
    for header in range(start, start + size * count, size):
        (offset,) = struct.unpack_from("<Q", content, header + OFFSET)
        (length,) = struct.unpack_from("<Q", content, header + FILE_SIZE)
        ends.append(offset + length)
    kept = bytearray(content[: max(ends)])
    struct.pack_into("<Q", kept, SHOFF, 0)
    struct.pack_into("<HHH", kept, SHENTSIZE, 0, 0, 0)
    return bytes(kept)


if __name__ == "__main__":
    main()
