"""What goes wrong: each fault leaves the firewall as it was, says what happened, and is over with the next run."""
