"""What other labs report, looked for in our own traffic.

`listing` is the file that workers read, `matching` finds its things among accounts and keeps to the
limits, `evidence` says what a match does to a cluster's p-value. docs/matching.md says why.
"""
