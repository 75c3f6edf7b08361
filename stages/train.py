"""train: fit one Pipeline, prove that ONNX says the same, judge it, and register it."""

from __future__ import annotations

from cairn import console
from cairn.compute import processes

# What runs in processes of its own, beside each other.
BESIDE = (
    "cairn.evaluation.curves",
    "cairn.evaluation.slices",
    "cairn.evaluation.plots",
    "cairn.evaluation.cross_validation",
)


def main() -> None:
    """Turn data/features into data/model, and register it."""
    processes.prepare(*BESIDE)
    # It imports for as long as those processes do: they are to begin first.
    from stages import training  # noqa: PLC0415

    training.main()


if __name__ == "__main__":
    console.run(main)
