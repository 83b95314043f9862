"""The evaluation protocol: how well detection does, beside published baselines, on any corpora."""
