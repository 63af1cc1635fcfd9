# One Droplet that joins: its private interface is open to the account's other Droplets in its region, closed to others.

terraform {
  required_version = ">= 1.9"

  required_providers {
    digitalocean = {
      source  = "digitalocean/digitalocean"
      version = "~> 2.60"
    }
  }
}

# Reads its own token, which may create Droplets, from DIGITALOCEAN_TOKEN. It is not the one that Droplets get.
provider "digitalocean" {}

module "droplan" {
  # Elsewhere, name the repository and a release: ../../README.md shows how.
  source = "../.."

  do_key         = var.do_key
  droplan_url    = var.droplan_url
  droplan_sha256 = var.droplan_sha256
}

resource "digitalocean_droplet" "this" {
  name      = "droplan-minimal"
  image     = var.image
  size      = "s-1vcpu-1gb"
  region    = var.region
  ssh_keys  = var.ssh_keys
  user_data = module.droplan.user_data

  lifecycle {
    # User data is read once, at first boot, and a change to it would replace the Droplet with everything on it: a new
    # token or a newer droplan must not do that. ../fleet/README.md says how to bring them to a running Droplet.
    ignore_changes = [user_data]
  }
}

output "private_address" {
  description = "Address of the guarded interface."
  value       = digitalocean_droplet.this.ipv4_address_private
}
