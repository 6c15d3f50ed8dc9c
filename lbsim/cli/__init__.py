"""Command-line interface; no other package prints."""
