"""evaluate: score the model, draw its plots, write its card, and register it."""

from __future__ import annotations

from cairn import console
from cairn.compute import processes

# What runs in processes of its own, side by side.
WORKERS = (
    "cairn.evaluation.curves",
    "cairn.evaluation.slices",
    "cairn.evaluation.plots",
    "cairn.evaluation.cross_validation",
)


def main() -> None:
    """Turn data/model into data/evaluation, and register both."""
    processes.prepare(*WORKERS)
    # Its imports take as long as those of the processes, which are to begin first.
    from stages import evaluation  # noqa: PLC0415

    evaluation.main()


if __name__ == "__main__":
    console.run(main)
