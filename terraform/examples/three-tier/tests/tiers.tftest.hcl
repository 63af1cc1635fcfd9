# Who reaches which port, as the Droplets are told. The provider is mocked: this asks no account and costs nothing.

mock_provider "digitalocean" {}

variables {
  do_key         = "dop_v1_${join("", [for i in range(64) : "0"])}"
  droplan_url    = "https://example.com/droplan.pyz"
  droplan_sha256 = sha256("droplan.pyz")
}

run "each_tier_opens_what_its_entries_name_and_nothing_else" {
  assert {
    condition = {
      for tier, droplan in module.droplan : tier => flatten(regexall(
        "\nDROPLAN_(?:ALLOW|PEER_PORTS)=([^\n]*)", nonsensitive(yamldecode(droplan.user_data)).write_files[0].content
      ))
      } == {
      web     = ["tcp/22@tag:bastion", "none"]
      db      = ["tcp/5432@tag:web,tcp/22@tag:bastion", "none"]
      bastion = ["none"]
    }
    error_message = "The table in README.md is what is opened."
  }
}

run "each_droplet_carries_its_tiers_tag_and_settings" {
  assert {
    condition = alltrue([
      for tier, droplet in digitalocean_droplet.tiers :
      droplet.tags == toset([tier]) && nonsensitive(droplet.user_data) == nonsensitive(module.droplan[tier].user_data)
    ])
    error_message = "A Droplet with another tier's tag would be let in as that tier."
  }
}
