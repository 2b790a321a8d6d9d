"""The command line: one short file a command: parse, one call, print."""
