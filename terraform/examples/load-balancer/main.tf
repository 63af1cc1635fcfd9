# Web servers behind a load balancer, with a managed database, whose public interfaces are closed too. The load balancer
# and the database are members of the VPC, but no Droplets: one of them needs an entry, the other none.

terraform {
  required_version = ">= 1.9"

  required_providers {
    digitalocean = {
      source  = "digitalocean/digitalocean"
      version = "~> 2.60"
    }
  }
}

# Reads its own token, which may create all of this, from DIGITALOCEAN_TOKEN. It is not the one that Droplets get.
provider "digitalocean" {}

locals {
  web_port = 8080
}

resource "digitalocean_vpc" "this" {
  name     = var.name
  region   = var.region
  ip_range = var.ip_range
}

resource "digitalocean_tag" "web" {
  name = "${var.name}-web"
}

module "droplan" {
  # Elsewhere, name the repository and a release: ../../README.md shows how.
  source = "../.."

  do_key         = var.do_key
  droplan_url    = var.droplan_url
  droplan_sha256 = var.droplan_sha256
  scope          = "vpc"
  tag            = digitalocean_tag.web.name
  peer_ports     = [] # web servers ask each other nothing

  # The load balancer comes in, and its health checks. Its private addresses are in no list, and DigitalOcean may change
  # them, so the port is open to the VPC. The database needs no entry: the Droplets ask, and replies pass.
  allow = ["tcp/${local.web_port}@${digitalocean_vpc.this.ip_range}"]

  # The public addresses take the admins' SSH and nothing else: the web's users come by the load balancer.
  public       = true
  allow_public = [for network in var.admins : "tcp/22@${network}"]
}

resource "digitalocean_droplet" "web" {
  count = var.droplet_count

  name      = "${var.name}-web-${count.index + 1}"
  image     = var.image
  size      = "s-1vcpu-1gb"
  region    = var.region
  vpc_uuid  = digitalocean_vpc.this.id
  tags      = [digitalocean_tag.web.name]
  ssh_keys  = var.ssh_keys
  user_data = module.droplan.user_data

  lifecycle {
    # User data is read once, at first boot: ../fleet/README.md says how to bring changes to running Droplets.
    ignore_changes = [user_data]
  }
}

resource "digitalocean_loadbalancer" "web" {
  name        = var.name
  region      = var.region
  vpc_uuid    = digitalocean_vpc.this.id # so that it reaches the Droplets by their private addresses
  droplet_tag = digitalocean_tag.web.name

  forwarding_rule {
    entry_protocol  = "http"
    entry_port      = 80
    target_protocol = "http"
    target_port     = local.web_port
  }

  healthcheck {
    protocol = "tcp"
    port     = local.web_port
  }
}

resource "digitalocean_database_cluster" "this" {
  name                 = var.name
  engine               = "pg"
  version              = "17"
  size                 = "db-s-1vcpu-1gb"
  region               = var.region
  node_count           = 1
  private_network_uuid = digitalocean_vpc.this.id
}

# droplan guards Droplets. Who may ask the database is the database's own list.
resource "digitalocean_database_firewall" "this" {
  cluster_id = digitalocean_database_cluster.this.id

  rule {
    type  = "tag"
    value = digitalocean_tag.web.name
  }
}
