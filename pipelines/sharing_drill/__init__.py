"""The federation drill: three labs, one campaign too thin at each, one exchange.

`labs` makes the labs and runs detection in each, `exchange` moves indicators from lab to lab
through a TAXII server, `attacks` looks at what was exchanged as a curious lab would, and `drill`
is the whole and its report. docs/sharing_drill.md has the figures.
"""
