"""How much a campaign got before its first alert."""
