# Who gets in, as the Droplets are told. The provider is mocked: this asks no account and costs nothing.

mock_provider "digitalocean" {}

variables {
  do_key         = "dop_v1_${join("", [for i in range(64) : "0"])}"
  droplan_url    = "https://example.com/droplan.pyz"
  droplan_sha256 = sha256("droplan.pyz")
  admins         = ["203.0.113.0/24", "2001:db8::/48"]
}

run "the_load_balancers_port_is_open_to_the_vpc_alone" {
  command = plan

  assert {
    condition     = strcontains(nonsensitive(yamldecode(module.droplan.user_data)).write_files[0].content, "\nDROPLAN_ALLOW=tcp/8080@10.120.0.0/20\n")
    error_message = "The load balancer and its health checks come from the VPC, to the port that is forwarded to."
  }

  assert {
    condition     = strcontains(nonsensitive(yamldecode(module.droplan.user_data)).write_files[0].content, "\nDROPLAN_PEER_PORTS=none\n")
    error_message = "Peers need nothing of each other."
  }
}

run "the_public_network_is_closed_to_all_but_the_admins" {
  command = plan

  assert {
    condition = alltrue([
      for line in ["PUBLIC=true", "DROPLAN_ALLOW_PUBLIC=tcp/22@203.0.113.0/24,tcp/22@2001:db8::/48"] :
      strcontains(nonsensitive(yamldecode(module.droplan.user_data)).write_files[0].content, "\n${line}\n")
    ])
    error_message = "Public addresses take SSH of the admins and nothing else."
  }
}

run "what_forwards_and_what_checks_go_to_the_port_that_is_open" {
  command = plan

  assert {
    condition = toset(concat(
      [for rule in digitalocean_loadbalancer.web.forwarding_rule : rule.target_port],
      [for check in digitalocean_loadbalancer.web.healthcheck : check.port],
    )) == toset([8080])
    error_message = "A port that droplan does not open would take the load balancer's Droplets out of service."
  }
}

run "another_network_reaches_the_entry" {
  command = plan

  variables {
    ip_range = "10.7.0.0/24"
  }

  assert {
    condition     = strcontains(nonsensitive(yamldecode(module.droplan.user_data)).write_files[0].content, "\nDROPLAN_ALLOW=tcp/8080@10.7.0.0/24\n")
    error_message = "The entry names the VPC's own network."
  }
}
