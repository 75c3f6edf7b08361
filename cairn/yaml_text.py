"""YAML as DVC reads it: version 1.2, where 1e-5 is a number and Yes, no and on are texts.

PyYAML reads version 1.1, where `1e-5` is a text and `Yes` is true. BentoML writes its files with
PyYAML, so only those are read with it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML  # what DVC reads and writes its files with
from ruamel.yaml.error import YAMLError

from cairn.errors import CairnError

MAX_DEPTH = 32  # lists and mappings inside one another


def read_yaml(path: Path, advice: str) -> Any:
    """Read a YAML file.

    Parameters
    ----------
    advice
        What to do where there is no such file.

    Raises
    ------
    CairnError
        Where there is no such file, or it is no YAML: the line, and what is wrong there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CairnError(f"{path}: no such file; {advice}") from None
    except UnicodeDecodeError as error:
        raise CairnError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Parse a YAML text; raise a CairnError that names the source and the line where it is none."""
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise CairnError(f"{source}: {line}not YAML: {reason.splitlines()[0]}") from None
    except (ValueError, LookupError) as error:  # of a date such as 2024-13-45, of !!bool maybe
        raise CairnError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _too_deep(source) from None
    if not _is_shallow(content):
        raise _too_deep(source)
    return content


def format_yaml(content: Any) -> str:
    """Format plain values as YAML 1.2, which `parse_yaml` reads back to the same values."""
    file = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment,unused-ignore]
    yaml.dump(content, file)
    return file.getvalue()


def _too_deep(source: str) -> CairnError:
    return CairnError(
        f"{source}: lists and mappings are nested more than {MAX_DEPTH} deep; allowed: {MAX_DEPTH}"
    )


def _is_shallow(content: Any) -> bool:
    """Tell whether nothing is nested deeper than MAX_DEPTH; a list that contains itself is."""
    level = [content]
    for _ in range(MAX_DEPTH):
        # Each once: by aliases a short file may hold the same list a billion times.
        level = list({id(part): part for outer in level for part in _parts(outer)}.values())
        if not level:
            return True
    return False


def _parts(content: Any) -> Iterator[Any]:
    """Yield the lists and mappings directly inside another one."""
    values = content.values() if isinstance(content, dict) else content
    if isinstance(content, dict | list | tuple | set):
        yield from (value for value in values if isinstance(value, dict | list | tuple | set))
