"""Where tables come from: one module for each kind of source, all of them in `table.SOURCES`."""
