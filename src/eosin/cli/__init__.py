"""The command line: parses, calls a workflow and prints its result."""
