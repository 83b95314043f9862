"""Private matching of payment and device identifiers between two labs.

docs/private_matching.md says what each of them learns.

`voprf` is the mathematics, `identifiers` what is matched, `sealed` where it is kept, `server` and
`client` the two roles, `ledger` quotas and the log, `service` and `calls` the two ends of HTTP.
"""
