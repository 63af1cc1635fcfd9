output "private_addresses" {
  description = "Address of each Droplet's guarded interface, by name."
  value = {
    for droplet in concat(digitalocean_droplet.publisher, digitalocean_droplet.member) :
    droplet.name => droplet.ipv4_address_private
  }
}

output "shared" {
  description = "The fleet's address, which is its id: DROPLAN_SHARED for `droplan fleet` from anywhere."
  value       = local.shared
}
