# N Droplets in a VPC of their own that reach each other by their private addresses, and nobody else in the data centre.
# The zipapp comes from a Spaces bucket that is filled here, so that no other hosting is needed.
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

# Reads DIGITALOCEAN_TOKEN, which may create all of this, and SPACES_ACCESS_KEY_ID and SPACES_SECRET_ACCESS_KEY.
provider "digitalocean" {}

resource "digitalocean_vpc" "fleet" {
  name   = var.name
  region = var.region
}

resource "digitalocean_tag" "fleet" {
  name = var.name
}

resource "digitalocean_spaces_bucket" "droplan" {
  name   = var.bucket
  region = var.region
}

# Droplets download without credentials, so anyone can. The file is public software and holds no secret, and what a
# Droplet runs is decided by the hash and not by who can write here.
resource "digitalocean_spaces_bucket_object" "droplan" {
  region = digitalocean_spaces_bucket.droplan.region
  bucket = digitalocean_spaces_bucket.droplan.name
  # The hash in the name: what an address serves never changes under a Droplet that is just fetching it.
  key          = "droplan/${filesha256(var.droplan_pyz)}/droplan.pyz"
  source       = var.droplan_pyz
  etag         = filemd5(var.droplan_pyz) # notices when somebody changed the published file
  acl          = "public-read"
  content_type = "application/octet-stream"

  lifecycle {
    create_before_destroy = true
  }
}

module "droplan" {
  # Elsewhere, name the repository and a release: ../../README.md shows how.
  source = "../.."

  do_key         = var.do_key
  droplan_url    = "https://${digitalocean_spaces_bucket.droplan.bucket_domain_name}/${digitalocean_spaces_bucket_object.droplan.key}"
  droplan_sha256 = filesha256(var.droplan_pyz)
  scope          = "vpc"
  tag            = digitalocean_tag.fleet.name
  allow          = var.allow
  interval       = var.interval
}

resource "digitalocean_droplet" "fleet" {
  count = var.droplet_count

  name      = "${var.name}-${count.index + 1}"
  image     = var.image
  size      = "s-1vcpu-1gb"
  region    = var.region
  vpc_uuid  = digitalocean_vpc.fleet.id
  tags      = [digitalocean_tag.fleet.name]
  ssh_keys  = var.ssh_keys
  user_data = module.droplan.user_data

  lifecycle {
    # User data is read once, at first boot, and a change to it would replace the whole fleet: a new token or a newer
    # droplan must not do that. README.md says how to bring them to running Droplets.
    ignore_changes = [user_data]
  }
}
