"""From the rows of a request to predictions."""
