"""One module per command: settings to files to core to result."""
