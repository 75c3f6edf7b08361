"""The bytecode of the standard library, made once, with the image.

The official Python images come without it, and a container keeps none: each start would compile
over a hundred modules anew.
"""

from __future__ import annotations

import importlib
import py_compile
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

# The programs of a container, and what they import later: a worker as it starts, and whoever
# looks up a host's name.
IMPORTED = (
    "service.process.supervisor",
    "service.process.health",
    "service.serve",
    "service.instance",
    "uvicorn",
    "encodings.idna",
)


def main() -> None:
    """Compile what a container imports of the standard library, where that has no bytecode yet."""
    for name in IMPORTED:
        importlib.import_module(name)
    library = Path(sysconfig.get_path("stdlib"))
    for source, bytecode in list_missing(sys.modules, library):
        compile_source(source, bytecode)


def list_missing(modules: Mapping[str, ModuleType], library: Path) -> list[tuple[Path, Path]]:
    """List the modules below a folder that lack their bytecode.

    Returns
    -------
    list of (Path, Path)
        Source and bytecode of each, by name.
    """
    specs = [getattr(module, "__spec__", None) for module in modules.values()]
    files = {
        (Path(spec.origin), Path(spec.cached))
        for spec in specs
        if spec and spec.has_location and spec.origin and spec.cached
    }
    return sorted(
        (source, bytecode)
        for source, bytecode in files
        if source.is_relative_to(library) and not bytecode.exists()
    )


def compile_source(source: Path, bytecode: Path) -> None:
    """Compile a module into bytecode that nothing checks: no file changes in an image.

    Raises
    ------
    py_compile.PyCompileError
        If the source does not compile.
    """
    py_compile.compile(
        str(source),
        str(bytecode),
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    main()
