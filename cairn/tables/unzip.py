"""A zip archive of one table, as people download it."""

from __future__ import annotations

import zipfile
from typing import IO

from cairn.errors import CairnError
from cairn.sources.archive import is_hidden

MARK = b"PK\x03\x04"
# How files within begin that make an archive a workbook of Excel or LibreOffice.
WORKBOOK = ("[Content_Types].xml", "xl/", "mimetype")
LISTED = 5


def open_only_file(file: IO[bytes], where: str) -> IO[bytes]:
    """Open the one file of a zip archive.

    Raises
    ------
    CairnError
        Where there are more files or none, it is a workbook, is damaged, or needs a password.
    """
    try:
        archive = zipfile.ZipFile(file)
        names = archive.namelist()
        if any(name.startswith(WORKBOOK) for name in names):
            raise CairnError(f"{where}: an Excel workbook; save the sheet as CSV")
        files = [name for name in names if not name.endswith("/") and not is_hidden(name)]
        if len(files) != 1:
            more = ", …" if len(files) > LISTED else ""
            listed = f": {', '.join(files[:LISTED])}{more}" if files else ""
            raise CairnError(
                f"{where}: a zip archive of {len(files)} files{listed}; unpack it, and set "
                "raw.source to the file, or to a folder with files of the same columns"
            )
        return archive.open(files[0])
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise CairnError(f"{where}: the zip archive cannot be read: {error}; unpack it") from None
