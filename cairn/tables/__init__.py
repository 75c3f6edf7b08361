"""What a table is read as, row by row, and the contract that each row is held to."""
