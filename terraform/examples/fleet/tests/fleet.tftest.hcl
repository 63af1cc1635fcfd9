# What the Droplets are told. The provider is mocked: this asks no account and costs nothing.

mock_provider "digitalocean" {
  mock_resource "digitalocean_spaces_bucket" {
    defaults = {
      bucket_domain_name = "fleet-files.nyc3.digitaloceanspaces.com"
    }
  }
}

variables {
  do_key      = "dop_v1_${join("", [for i in range(64) : "0"])}"
  bucket      = "fleet-files"
  droplan_pyz = "main.tf" # any file: what is published is not run here
}

run "droplets_fetch_what_is_published_by_its_hash" {
  assert {
    condition = nonsensitive(yamldecode(module.droplan.user_data)).write_files[1].content == join("", [
      "URL='https://fleet-files.nyc3.digitaloceanspaces.com/droplan/${filesha256("main.tf")}/droplan.pyz'\n",
      "SHA256='${filesha256("main.tf")}'\n",
    ])
    error_message = "The address must hold the hash, so that what it serves never changes."
  }
}

run "peers_are_those_with_the_fleets_tag_in_its_vpc" {
  assert {
    condition = alltrue([
      for line in ["DO_TAG=fleet", "DROPLAN_SCOPE=vpc"] :
      strcontains(nonsensitive(yamldecode(module.droplan.user_data)).write_files[0].content, "${line}\n")
    ])
    error_message = "Nobody else in the data centre is one of the fleet."
  }

  assert {
    condition = alltrue([
      for droplet in digitalocean_droplet.fleet :
      droplet.tags == toset(["fleet"]) && droplet.vpc_uuid == digitalocean_vpc.fleet.id
    ])
    error_message = "Each Droplet must carry the tag and be in the VPC, or the others shut it out."
  }
}

run "one_more" {
  variables {
    droplet_count = 3
  }

  assert {
    condition     = [for droplet in digitalocean_droplet.fleet : droplet.name] == ["fleet-1", "fleet-2", "fleet-3"]
    error_message = "The third comes beside the first two."
  }
}
