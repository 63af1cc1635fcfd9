# Three tiers in a VPC of their own, and what each opens to which by tag: web reaches the database on 5432, the bastion
# reaches both on 22, and that is all that anybody reaches on a private interface here.
#
# The public interfaces are not touched: put a digitalocean_firewall (Cloud Firewall) with your own rules in front.

terraform {
  required_version = ">= 1.9"

  required_providers {
    digitalocean = {
      source  = "digitalocean/digitalocean"
      version = "~> 2.60"
    }
  }
}

# Reads DIGITALOCEAN_TOKEN, which may create Droplets and a VPC.
provider "digitalocean" {}

locals {
  # By tag, which is the Droplet's name as well: who besides may reach what on it. Replies need no entry.
  tiers = {
    web     = ["tcp/22@tag:bastion"]
    db      = ["tcp/5432@tag:web", "tcp/22@tag:bastion"]
    bastion = []
  }
}

resource "digitalocean_vpc" "tiers" {
  name   = var.name
  region = var.region
}

module "droplan" {
  # Elsewhere, name the repository and a release: source = "git::https://HOST/OWNER/droplan.git//terraform?ref=vX.Y.Z"
  source   = "../.."
  for_each = local.tiers

  do_key         = var.do_key
  droplan_url    = var.droplan_url
  droplan_sha256 = var.droplan_sha256
  scope          = "vpc" # a Droplet of the account elsewhere that bears one of the tags is nobody here
  tags           = keys(local.tiers)
  peer_ports     = [] # being one of the fleet opens nothing by itself
  allow          = each.value
  interval       = var.interval
}

resource "digitalocean_droplet" "tiers" {
  for_each = local.tiers

  name      = "${var.name}-${each.key}"
  image     = var.image
  size      = "s-1vcpu-1gb"
  region    = var.region
  vpc_uuid  = digitalocean_vpc.tiers.id
  tags      = [each.key]
  ssh_keys  = var.ssh_keys
  user_data = module.droplan[each.key].user_data

  lifecycle {
    ignore_changes = [user_data] # a new token, zipapp or entry must not replace the database (README.md)
  }
}
