# A fleet on one token that its members do not hold: two publishers read the API and sign the list, everybody else reads
# what they signed from a bucket. For 201 Droplets and more: docs/scale.md says why, and what it costs.
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

# Not versioned: a versioned bucket ignores the conditions that keep two publishers apart.
resource "digitalocean_spaces_bucket" "fleet" {
  name          = var.bucket
  region        = var.region
  acl           = "private"
  force_destroy = true # what is in it the publishers write again within seconds
}

resource "digitalocean_spaces_key" "members" {
  name = "${var.name}-members"

  grant {
    bucket     = digitalocean_spaces_bucket.fleet.name
    permission = "read"
  }
}

resource "digitalocean_spaces_key" "publishers" {
  name = "${var.name}-publishers"

  grant {
    bucket     = digitalocean_spaces_bucket.fleet.name
    permission = "readwrite"
  }
}

locals {
  # What all Droplets here have in common. Elsewhere, name the repository and a release as the module's source:
  # "git::https://HOST/OWNER/droplan.git//terraform?ref=vX.Y.Z"
  shared     = "https://${digitalocean_spaces_bucket.fleet.endpoint}/${digitalocean_spaces_bucket.fleet.name}/fleet"
  shared_key = "${digitalocean_spaces_key.members.access_key}:${digitalocean_spaces_key.members.secret_key}"
}

module "publisher" {
  source = "../.."

  droplan_url    = var.droplan_url
  droplan_sha256 = var.droplan_sha256
  scope          = "vpc"
  shared         = local.shared
  shared_key     = local.shared_key
  shared_trust   = var.trust

  publisher = {
    do_key      = var.do_key
    shared_key  = "${digitalocean_spaces_key.publishers.access_key}:${digitalocean_spaces_key.publishers.secret_key}"
    signing_key = var.signing_key
  }
}

module "member" {
  source = "../.."

  droplan_url    = var.droplan_url
  droplan_sha256 = var.droplan_sha256
  scope          = "vpc"
  shared         = local.shared
  shared_key     = local.shared_key
  shared_trust   = var.trust
}

# One publishes, the other stands by and takes over within 75 seconds. Their private interfaces are guarded as all are.
resource "digitalocean_droplet" "publisher" {
  count = 2

  name      = "${var.name}-publisher-${count.index + 1}"
  image     = var.image
  size      = "s-1vcpu-1gb"
  region    = var.region
  vpc_uuid  = digitalocean_vpc.fleet.id
  ssh_keys  = var.ssh_keys
  user_data = module.publisher.user_data

  lifecycle {
    # User data is read once, at first boot: a new key or a newer droplan must not replace Droplets.
    ignore_changes = [user_data]
  }
}

resource "digitalocean_droplet" "member" {
  count = var.member_count

  name      = "${var.name}-${count.index + 1}"
  image     = var.image
  size      = "s-1vcpu-1gb"
  region    = var.region
  vpc_uuid  = digitalocean_vpc.fleet.id
  ssh_keys  = var.ssh_keys
  user_data = module.member.user_data

  # A member's first run wants a list to be there.
  depends_on = [digitalocean_droplet.publisher]

  lifecycle {
    ignore_changes = [user_data]
  }
}
