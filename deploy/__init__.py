"""Where Cairn runs: one folder for each place."""
