"""The documentation: its snippets, its commands, its links, its recipes and its site."""
