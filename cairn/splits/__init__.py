"""Split the rows of a table into train and test: one module for each way to split."""
