"""What DigitalOcean says: the metadata service about this Droplet, the API about the account's Droplets."""
