"""The documentation: pages in Markdown, and what builds them."""
