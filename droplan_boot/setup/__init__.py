"""What is in place on a machine where droplan is installed."""
