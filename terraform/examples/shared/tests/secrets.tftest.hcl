# Who holds which secret. The provider is mocked: this asks no account and costs nothing.

mock_provider "digitalocean" {
  mock_resource "digitalocean_spaces_bucket" {
    defaults = {
      endpoint = "nyc3.digitaloceanspaces.com"
    }
  }

  mock_resource "digitalocean_spaces_key" {
    defaults = {
      access_key = "DO00KEY"
      secret_key = "SECRET"
    }
  }
}

variables {
  do_key         = "dop_v1_${join("", [for i in range(64) : "0"])}"
  droplan_url    = "https://example.com/droplan.pyz"
  droplan_sha256 = sha256("droplan.pyz")
  bucket         = "fleet-files"
  signing_key    = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
  trust          = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
}

run "the_token_and_the_key_that_signs_are_on_publishers_alone" {
  assert {
    condition     = !strcontains(nonsensitive(module.member.user_data), nonsensitive(var.do_key))
    error_message = "A member holds no token."
  }

  assert {
    condition     = !strcontains(nonsensitive(module.member.user_data), "PRIVATE KEY")
    error_message = "Whoever breaks into a member must not be able to sign a list."
  }

  assert {
    condition = alltrue([
      for secret in [var.do_key, "PRIVATE KEY"] :
      strcontains(nonsensitive(module.publisher.user_data), nonsensitive(secret))
    ])
    error_message = "A publisher asks the API and signs."
  }
}

run "a_members_key_of_the_bucket_only_reads" {
  assert {
    condition     = [for grant in digitalocean_spaces_key.members.grant : grant.permission] == ["read"]
    error_message = "A member that could write could stop the fleet's news."
  }
}

run "each_gets_the_user_data_of_what_it_is" {
  assert {
    condition = alltrue(concat(
      [for one in digitalocean_droplet.member : nonsensitive(one.user_data) == nonsensitive(module.member.user_data)],
      [for one in digitalocean_droplet.publisher : nonsensitive(one.user_data) == nonsensitive(module.publisher.user_data)],
    ))
    error_message = "A member with a publisher's user data would hold its secrets."
  }

  assert {
    condition     = length(digitalocean_droplet.publisher) == 2
    error_message = "One publishes, the other takes over."
  }
}
