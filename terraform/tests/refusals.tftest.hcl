# Every input that the module refuses. That no refusal shows the token is tested by tests/terraform, which reads the output.

variables {
  do_key         = "dop_v1_${join("", [for i in range(64) : "0"])}"
  droplan_url    = "https://example.com/droplan.pyz"
  droplan_sha256 = sha256("droplan.pyz")
}

run "a_token_that_is_a_name" {
  command = plan

  variables {
    do_key = "my-token"
  }

  expect_failures = [output.user_data]
}

run "a_token_with_a_line_break" {
  command = plan

  variables {
    do_key = "dop_v1_${join("", [for i in range(64) : "0"])}\n"
  }

  expect_failures = [output.user_data]
}

run "an_empty_token" {
  command = plan

  variables {
    do_key = ""
  }

  expect_failures = [output.user_data]
}

run "a_refresh_token" {
  command = plan

  variables {
    do_key = "dor_v1_${join("", [for i in range(64) : "0"])}"
  }

  expect_failures = [output.user_data]
}

run "plain_http" {
  command = plan

  variables {
    droplan_url = "http://example.com/droplan.pyz"
  }

  expect_failures = [var.droplan_url]
}

run "a_url_that_ends_its_quotes" {
  command = plan

  variables {
    droplan_url = "https://example.com/'; reboot; '"
  }

  expect_failures = [var.droplan_url]
}

run "a_short_hash" {
  command = plan

  variables {
    droplan_sha256 = "abc123"
  }

  expect_failures = [var.droplan_sha256]
}

run "a_hash_in_upper_case" {
  command = plan

  variables {
    droplan_sha256 = upper(sha256("droplan.pyz"))
  }

  expect_failures = [var.droplan_sha256]
}

run "a_tag_with_a_blank" {
  command = plan

  variables {
    tag = "web servers"
  }

  expect_failures = [var.tag]
}

run "an_empty_tag" {
  command = plan

  variables {
    tag = ""
  }

  expect_failures = [var.tag]
}

run "an_unknown_scope" {
  command = plan

  variables {
    scope = "planet"
  }

  expect_failures = [var.scope]
}

run "an_allow_entry_without_sense" {
  command = plan

  variables {
    allow = ["everyone"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_another_protocol" {
  command = plan

  variables {
    allow = ["icmp/8"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_line_break" {
  command = plan

  variables {
    allow = ["10.0.0.0/24\nDO_KEY=x"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_host_bits" {
  command = plan

  variables {
    allow = ["10.0.0.5/24"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_that_is_no_network" {
  command = plan

  variables {
    allow = ["tcp/22@10.0.0.0/33"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_that_is_no_address" {
  command = plan

  variables {
    allow = ["10.0.0"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_port_zero" {
  command = plan

  variables {
    allow = ["tcp/0"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_port_too_high" {
  command = plan

  variables {
    allow = ["udp/70000@10.0.0.0/8"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_for_everyone" {
  command = plan

  variables {
    allow = ["0.0.0.0/0"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_for_everyone_in_ipv6" {
  command = plan

  variables {
    allow = ["::/0"]
  }

  expect_failures = [var.allow]
}

run "a_tag_with_a_comma" {
  command = plan

  variables {
    tags = ["web,db"]
  }

  expect_failures = [var.tags]
}

run "one_bad_tag_among_good_ones" {
  command = plan

  variables {
    tags = ["web", "web servers"]
  }

  expect_failures = [var.tags]
}

run "an_allow_entry_with_a_range_that_runs_backwards" {
  command = plan

  variables {
    allow = ["tcp/8100-8000@tag:web"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_range_too_high" {
  command = plan

  variables {
    allow = ["tcp/1-65536"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_port_and_no_protocol" {
  command = plan

  variables {
    allow = ["5432@tag:web"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_the_source_first" {
  command = plan

  variables {
    allow = ["tag:web@tcp/22"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_an_empty_tag" {
  command = plan

  variables {
    allow = ["tcp/22@tag:"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_cluster_by_name" {
  command = plan

  variables {
    allow = ["k8s:production"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_protocol_by_name" {
  command = plan

  variables {
    allow = ["proto/gre"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_protocol_zero" {
  command = plan

  variables {
    allow = ["proto/0@10.0.0.0/8"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_protocol_too_high" {
  command = plan

  variables {
    allow = ["proto/256"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_a_tag_and_a_line_break" {
  command = plan

  variables {
    allow = ["tag:web\nDO_KEY=x"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_two_entries_in_it" {
  command = plan

  variables {
    allow = ["tag:web,tag:db"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_host_bits_behind_a_service" {
  command = plan

  variables {
    allow = ["icmp@10.0.0.5/24"]
  }

  expect_failures = [var.allow]
}

run "an_allow_entry_with_more_behind_the_port" {
  command = plan

  variables {
    allow = ["tcp/22x@tag:web"]
  }

  expect_failures = [var.allow]
}

# allow checks the words of both.
run "a_public_entry_without_sense" {
  command = plan

  variables {
    allow_public = ["everyone"]
  }

  expect_failures = [var.allow]
}

run "a_public_entry_with_a_line_break" {
  command = plan

  variables {
    allow_public = ["tcp/22\nDO_KEY=x"]
  }

  expect_failures = [var.allow]
}

run "a_public_entry_with_host_bits" {
  command = plan

  variables {
    allow_public = ["203.0.113.5/24"]
  }

  expect_failures = [var.allow]
}

run "a_public_entry_with_a_range_that_runs_backwards" {
  command = plan

  variables {
    allow_public = ["tcp/443-80"]
  }

  expect_failures = [var.allow]
}

run "a_public_entry_with_a_protocol_too_high" {
  command = plan

  variables {
    allow_public = ["proto/256"]
  }

  expect_failures = [var.allow]
}

run "a_public_entry_for_everyone" {
  command = plan

  variables {
    allow_public = ["0.0.0.0/0"]
  }

  expect_failures = [var.allow]
}

run "peer_ports_with_a_source" {
  command = plan

  variables {
    peer_ports = ["tcp/22@tag:web"]
  }

  expect_failures = [var.peer_ports]
}

run "peer_ports_without_a_protocol" {
  command = plan

  variables {
    peer_ports = ["22"]
  }

  expect_failures = [var.peer_ports]
}

run "peer_ports_with_port_zero" {
  command = plan

  variables {
    peer_ports = ["tcp/0"]
  }

  expect_failures = [var.peer_ports]
}

run "peer_ports_that_run_backwards" {
  command = plan

  variables {
    peer_ports = ["udp/20-10"]
  }

  expect_failures = [var.peer_ports]
}

run "peer_ports_with_a_protocol_too_high" {
  command = plan

  variables {
    peer_ports = ["proto/300"]
  }

  expect_failures = [var.peer_ports]
}

run "an_unknown_mode" {
  command = plan

  variables {
    mode = "watch"
  }

  expect_failures = [var.mode]
}

run "a_mode_with_a_line_break" {
  command = plan

  variables {
    mode = "observe\n"
  }

  expect_failures = [var.mode]
}

run "an_interval_of_nothing" {
  command = plan

  variables {
    interval = 0
  }

  expect_failures = [var.interval]
}

run "an_interval_of_more_than_an_hour" {
  command = plan

  variables {
    interval = 61
  }

  expect_failures = [var.interval]
}

run "an_interval_with_a_fraction" {
  command = plan

  variables {
    interval = 1.5
  }

  expect_failures = [var.interval]
}

run "extra_user_data_of_another_kind" {
  command = plan

  variables {
    extra_user_data = "packages: [nginx]"
  }

  expect_failures = [output.user_data]
}

run "extra_user_data_that_is_empty" {
  command = plan

  variables {
    extra_user_data = ""
  }

  expect_failures = [output.user_data]
}

run "more_than_64_kib" {
  command = plan

  variables {
    extra_user_data = "#!/bin/sh\n${join("", [for i in range(1000) : "# ${sha256(i)}\n"])}"
  }

  expect_failures = [output.user_data]
}

run "neither_a_token_nor_a_shared_source" {
  command = plan

  variables {
    do_key = null
  }

  expect_failures = [output.user_data]
}

run "a_token_beside_a_shared_source" {
  command = plan

  variables {
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [output.user_data]
}

run "a_shared_source_by_plain_http" {
  command = plan

  variables {
    do_key       = null
    shared       = "http://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [var.shared]
}

run "a_shared_source_that_ends_in_a_slash" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [var.shared]
}

run "a_shared_source_with_a_line_break" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet\nDO_KEY=x"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [var.shared]
}

run "a_shared_source_that_nobody_signs" {
  command = plan

  variables {
    do_key     = null
    shared     = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key = "ID:SECRET"
  }

  expect_failures = [var.shared]
}

run "trust_without_a_shared_source" {
  command = plan

  variables {
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [var.shared]
}

run "trust_in_a_private_key" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
  }

  expect_failures = [var.shared_trust]
}

run "trust_in_three_keys" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = [for i in range(3) : "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [var.shared_trust]
}

run "a_shared_source_without_its_key" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [output.user_data]
}

run "a_shared_key_without_its_secret" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [output.user_data]
}

run "a_shared_key_with_a_line_break" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET\nDO_KEY=x"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
  }

  expect_failures = [output.user_data]
}

run "a_shared_key_without_a_source" {
  command = plan

  variables {
    shared_key = "ID:SECRET"
  }

  expect_failures = [output.user_data]
}

run "a_publisher_without_a_shared_source" {
  command = plan

  variables {
    publisher = {
      do_key      = "dop_v1_${join("", [for i in range(64) : "0"])}"
      shared_key  = "ID:SECRET"
      signing_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    }
  }

  expect_failures = [output.user_data]
}

run "a_publisher_whose_token_is_a_name" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
    publisher = {
      do_key      = "my-token"
      shared_key  = "ID:SECRET"
      signing_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    }
  }

  expect_failures = [output.user_data]
}

run "a_publisher_whose_key_has_no_secret" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
    publisher = {
      do_key      = "dop_v1_${join("", [for i in range(64) : "0"])}"
      shared_key  = "ID"
      signing_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    }
  }

  expect_failures = [output.user_data]
}

run "a_publisher_that_is_given_the_name_of_a_file" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
    publisher = {
      do_key      = "dop_v1_${join("", [for i in range(64) : "0"])}"
      shared_key  = "ID:SECRET"
      signing_key = "/root/fleet.key"
    }
  }

  expect_failures = [output.user_data]
}

run "a_publisher_that_is_given_the_public_key" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "ID:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
    publisher = {
      do_key      = "dop_v1_${join("", [for i in range(64) : "0"])}"
      shared_key  = "ID:SECRET"
      signing_key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="
    }
  }

  expect_failures = [output.user_data]
}
