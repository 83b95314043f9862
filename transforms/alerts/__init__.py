"""What becomes an alert, and how severe it is."""
