"""Published detectors, on the embeddings that the product has, to be compared with.

Every method scores windows of prompts, larger is more suspicious, given a benign reference. Where a
published rule looks at one side of a scalar only, both sides count here; the threshold comes from
the same benign windows for all.
"""
