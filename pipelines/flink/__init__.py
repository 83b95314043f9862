"""A Flink cluster as seen from the command: its REST interface, and Beam's job server for it."""
