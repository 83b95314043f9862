"""`detect` on Google Cloud Dataflow.

`parameters` are those of the Flex Template, `launch` is what its launcher runs; `submit` gives a
plan to Dataflow, `options` says how; `secrets` runs on workers; `graph` keeps the job's graph
locked, so that an update that Dataflow would refuse is seen before.
"""
