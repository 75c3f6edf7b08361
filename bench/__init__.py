"""Speed and memory: run by `make bench`, results committed with the machine that gave them."""
