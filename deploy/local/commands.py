"""Install the project's own `bentoml build` and `bentoml containerize` into this environment.

BentoML finds them by the entry points `bentoml.commands` of an installed distribution. This one is
a small package and its metadata, so it is written in place: nothing to build, nothing to resolve,
and a second call changes nothing. Installers that sync an environment with the lock remove it.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

PACKAGE = Path(__file__).with_name("cairn_commands")
SOURCES = tuple(PACKAGE / name for name in ("compat.py", "__init__.py"))
FOLDER = "cairn_commands-1.dist-info"


def main() -> None:
    """Write what the environment lacks."""
    site = Path(sysconfig.get_path("purelib"))
    site.joinpath(f"{PACKAGE.name}.py").unlink(missing_ok=True)  # of older versions
    for name, text in files().items():
        if not (site / name).is_file() or (site / name).read_text(encoding="utf-8") != text:
            write(site / name, text)


def files() -> dict[str, str]:
    """Return the files of the distribution, by name, its metadata after the code."""
    content = {
        **{
            f"{PACKAGE.name}/{source.name}": source.read_text(encoding="utf-8")
            for source in SOURCES
        },
        f"{FOLDER}/entry_points.txt": "[bentoml.commands]\n"
        "build = cairn_commands:build\ncontainerize = cairn_commands:containerize\n",
        f"{FOLDER}/INSTALLER": "cairn\n",
        f"{FOLDER}/METADATA": "Metadata-Version: 2.1\nName: cairn-commands\nVersion: 1\n",
    }
    names = (*content, f"{FOLDER}/RECORD")
    return {**content, f"{FOLDER}/RECORD": "".join(f"{name},,\n" for name in names)}


def write(path: Path, text: str) -> None:
    """Write a file in one step: another process may read it at any time."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".new")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main()
