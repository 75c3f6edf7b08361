"""The range of a library's versions whose internals the service relies on."""

from __future__ import annotations

import warnings


def check_version(package: str, lowest: tuple[int, ...], below: tuple[int, ...], use: str) -> None:
    """Warn where an installed package is outside of the range that a use of it was tested with.

    Parameters
    ----------
    package
        Name of the distribution.
    lowest, below
        The range: from the first version, up to but without the second.
    use
        What relies on the package's internals, for the warning.
    """
    from importlib.metadata import version  # noqa: PLC0415 - the supervisor has no need of it

    installed = version(package)
    if not lowest <= parse_release(installed) < below:
        supported = f"{package} >={_format(lowest)},<{_format(below)}"
        warnings.warn(
            f"{use} relies on internals of {supported}; {package} {installed} is installed. "
            f"Install a version in that range, as requirements.txt does",
            stacklevel=2,
        )


def parse_release(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with.

    Examples
    --------
    >>> parse_release("1.4.39")
    (1, 4, 39)
    >>> parse_release("0.41.0rc1")
    (0, 41, 0)
    """
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def _format(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
