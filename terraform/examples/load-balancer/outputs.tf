output "load_balancer_address" {
  description = "Public address of the load balancer, where the web's users come in."
  value       = digitalocean_loadbalancer.web.ip
}

output "database_host" {
  description = "Name of the database in the VPC, for the Droplets' programs."
  value       = digitalocean_database_cluster.this.private_host
}

output "private_addresses" {
  description = "Address of each Droplet's guarded private interface, by name."
  value       = { for droplet in digitalocean_droplet.web : droplet.name => droplet.ipv4_address_private }
}
