"""Links between accounts, connected components, and how clusters score."""
