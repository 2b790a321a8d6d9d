"""The command line. Each command is one short file that parses options, makes one call and prints the result."""
