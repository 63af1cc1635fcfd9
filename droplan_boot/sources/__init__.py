"""Where Droplets are listed."""
