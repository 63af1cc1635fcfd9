output "private_addresses" {
  description = "Address of each Droplet's guarded interface, by tag."
  value       = { for tag, droplet in digitalocean_droplet.tiers : tag => droplet.ipv4_address_private }
}
