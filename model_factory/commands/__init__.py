"""The commands, one file each. A command parses its options, calls one function, and prints what it returns."""
