"""Lines of progress, which all benchmarks print alike."""


def print_progress(text: str) -> None:
    """Print how far a benchmark is, at once, also through a pipe."""
    print(f"bench: {text}", flush=True)
