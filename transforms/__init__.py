"""What pipelines are made of: one folder for each stage, in the order in which data flows."""
