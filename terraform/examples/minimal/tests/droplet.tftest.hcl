# What the Droplet is told. The provider is mocked: this asks no account and costs nothing.

mock_provider "digitalocean" {}

variables {
  do_key         = "dop_v1_${join("", [for i in range(64) : "0"])}"
  droplan_url    = "https://example.com/droplan.pyz"
  droplan_sha256 = sha256("droplan.pyz")
}

run "one_droplet_with_the_modules_defaults" {
  assert {
    condition = strcontains(
      nonsensitive(yamldecode(module.droplan.user_data)).write_files[0].content, "\nDROPLAN_SCOPE=region\n"
    )
    error_message = "Peers are the account's Droplets of the same region."
  }

  assert {
    condition     = nonsensitive(digitalocean_droplet.this.user_data) == nonsensitive(module.droplan.user_data)
    error_message = "The Droplet must get the module's user data."
  }
}
