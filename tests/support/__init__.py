"""What several tests need: made-up events, keys and brokers."""
