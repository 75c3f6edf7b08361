"""On the machine of whoever works on it."""
