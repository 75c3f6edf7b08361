"""What ends an upgrade."""

from __future__ import annotations


class UpgradeError(Exception):
    """Something the user can mend; its text says what is wrong and what to do next."""
