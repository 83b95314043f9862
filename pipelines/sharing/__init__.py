"""What `distilwatch share` does: propose, approve, publish, revoke, poll."""
