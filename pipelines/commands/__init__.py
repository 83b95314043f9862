"""One module per command: its options and what it says; the work is done elsewhere."""
