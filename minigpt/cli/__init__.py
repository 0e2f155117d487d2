"""The terminal: options, rendering and exit codes."""
