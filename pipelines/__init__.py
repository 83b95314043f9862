"""What runs: one module per pipeline, and the command line over them."""
