output "private_addresses" {
  description = "Address of each Droplet's guarded interface, by name."
  value       = { for droplet in digitalocean_droplet.fleet : droplet.name => droplet.ipv4_address_private }
}

output "droplan_url" {
  description = "Where Droplets download the zipapp; `droplan install` from here upgrades a running one (README.md)."
  value       = "https://${digitalocean_spaces_bucket.droplan.bucket_domain_name}/${digitalocean_spaces_bucket_object.droplan.key}"
}

output "droplan_sha256" {
  description = "SHA-256 of that file."
  value       = filesha256(var.droplan_pyz)
}

output "user_data_sha1" {
  description = "SHA-1 of the user data that a new Droplet would get; the state holds it for each that exists."
  value       = module.droplan.user_data_sha1
}
