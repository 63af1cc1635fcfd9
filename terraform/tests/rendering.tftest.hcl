# What the module renders. Whether cloud-init takes it is tested by tests/terraform, with the real cloud-init.

variables {
  do_key         = "dop_v1_${join("", [for i in range(64) : "0"])}"
  droplan_url    = "https://example.com/droplan.pyz"
  droplan_sha256 = sha256("droplan.pyz")
}

run "defaults_are_the_safe_ones" {
  command = plan

  assert {
    condition = nonsensitive(yamldecode(output.user_data).write_files[0]) == {
      path        = "/etc/droplan/droplan.env"
      permissions = "0600"
      content = join("", [
        "DO_KEY=${var.do_key}\n", "DROPLAN_FAIL_CLOSED=true\n", "DROPLAN_INTERVAL=5\n", "DROPLAN_LOCK_METADATA=true\n",
        "DROPLAN_SCOPE=region\n",
      ])
    }
    error_message = "The settings must be in a file that only root can read, fail closed and lock the metadata service."
  }

  assert {
    condition     = startswith(nonsensitive(output.user_data), "#cloud-config\n")
    error_message = "Without extra_user_data it is a plain cloud-config."
  }

  assert {
    condition     = nonsensitive(yamldecode(output.user_data).runcmd) == [["sh", "/opt/droplan/bootstrap.sh"]]
    error_message = "One runcmd entry, whose status is the bootstrap's."
  }
}

run "url_and_hash_reach_the_bootstrap" {
  command = plan

  assert {
    condition = nonsensitive(yamldecode(output.user_data).write_files[1].content) == join("", [
      "URL='https://example.com/droplan.pyz'\n", "SHA256='${sha256("droplan.pyz")}'\n",
    ])
    error_message = "The bootstrap must be told where droplan.pyz is and what it must hash to."
  }
}

run "who_may_reach_which_port_reaches_the_droplet" {
  command = plan

  variables {
    tags       = ["web", "db"]
    tag        = "Bastion"
    peer_ports = ["tcp/80", "tcp/8000-8100", "icmp", "proto/47"]
    allow = [
      "tag:web", "tcp/5432@tag:web:1", "udp/1-65535@droplet:db-1.example", "icmp@10.0.0.0/24", "proto/50@fd00::/8",
      "k8s:bd5f5959-5e1e-4205-a714-a914373942af", "tcp/443@k8s:BD5F5959-5E1E-4205-A714-A914373942AF", "icmp",
      "proto/255", "tcp/8000-8100",
    ]
  }

  assert {
    condition = nonsensitive(yamldecode(output.user_data).write_files[0].content) == join("", [
      "DO_KEY=${var.do_key}\n", "DO_TAG=Bastion,web,db\n", "DROPLAN_ALLOW=${join(",", var.allow)}\n",
      "DROPLAN_FAIL_CLOSED=true\n", "DROPLAN_INTERVAL=5\n", "DROPLAN_LOCK_METADATA=true\n",
      "DROPLAN_PEER_PORTS=tcp/80,tcp/8000-8100,icmp,proto/47\n", "DROPLAN_SCOPE=region\n",
    ])
    error_message = "Tags, peer_ports and every form of allow must reach droplan as it spells them."
  }
}

run "peers_that_may_reach_nothing" {
  command = plan

  variables {
    peer_ports = []
  }

  assert {
    condition     = strcontains(nonsensitive(output.user_data), "DROPLAN_PEER_PORTS=none")
    error_message = "An empty list of ports is none, and not everything."
  }
}

run "nobody_else_from_the_public_network" {
  command = plan

  variables {
    allow        = ["tcp/443"]
    allow_public = []
  }

  assert {
    condition     = strcontains(nonsensitive(yamldecode(output.user_data).write_files[0].content), "\nDROPLAN_ALLOW_PUBLIC=none\n")
    error_message = "An empty list for the public network is nobody, and not what allow says."
  }
}

run "every_setting_reaches_the_droplet" {
  command = plan

  variables {
    tag           = "web:blue"
    scope         = "vpc"
    allow         = ["10.0.0.0/24", "10.0.0.7", "tcp/5432@10.1.0.0/16", "udp/51820", "fd00::/8", "tcp/22@0.0.0.0/0"]
    allow_public  = ["tcp/443", "tcp/22@203.0.113.0/24"]
    public        = true
    watch         = false
    interval      = 1
    fail_closed   = false
    lock_metadata = false
  }

  assert {
    condition = nonsensitive(yamldecode(output.user_data).write_files[0].content) == join("", [
      "DO_KEY=${var.do_key}\n", "DO_TAG=web:blue\n",
      "DROPLAN_ALLOW=10.0.0.0/24,10.0.0.7,tcp/5432@10.1.0.0/16,udp/51820,fd00::/8,tcp/22@0.0.0.0/0\n",
      "DROPLAN_ALLOW_PUBLIC=tcp/443,tcp/22@203.0.113.0/24\n", "DROPLAN_FAIL_CLOSED=false\n", "DROPLAN_INTERVAL=1\n",
      "DROPLAN_LOCK_METADATA=false\n", "DROPLAN_SCOPE=vpc\n", "DROPLAN_WATCH=false\n", "PUBLIC=true\n",
    ])
    error_message = "Each variable must become its setting."
  }
}

run "to_observe_reaches_the_droplet" {
  command = plan

  variables {
    mode = "observe"
  }

  assert {
    condition     = strcontains(nonsensitive(yamldecode(output.user_data).write_files[0].content), "\nDROPLAN_MODE=observe\n")
    error_message = "The mode must become its setting."
  }
}

run "hash_and_size_describe_the_user_data" {
  command = plan

  assert {
    condition     = output.user_data_sha1 == nonsensitive(sha1(output.user_data))
    error_message = "user_data_sha1 must be what the provider keeps in the state."
  }

  assert {
    condition     = output.user_data_bytes == length(nonsensitive(output.user_data)) && output.user_data_bytes < 65536
    error_message = "user_data_bytes must count the bytes (all of them ASCII)."
  }
}

run "a_cloud_config_of_the_users_is_combined" {
  command = plan

  variables {
    extra_user_data = "#cloud-config\npackages: [nginx]\n"
  }

  assert {
    condition = (
      strcontains(nonsensitive(output.user_data), base64encode("#cloud-config\npackages: [nginx]\n")) &&
      strcontains(nonsensitive(output.user_data), "Content-Type: text/cloud-config; charset=\"utf-8\"") &&
      strcontains(nonsensitive(output.user_data), "\n#!/bin/sh\nexec sh /opt/droplan/bootstrap.sh\n")
    )
    error_message = "Both must be in the multi-part."
  }
}

run "a_script_of_the_users_is_combined" {
  command = plan

  variables {
    extra_user_data = "#!/bin/sh\necho grüezi\n"
  }

  assert {
    condition = (
      strcontains(nonsensitive(output.user_data), base64encode("#!/bin/sh\necho grüezi\n")) &&
      strcontains(nonsensitive(output.user_data), "Content-Type: text/x-shellscript; charset=\"utf-8\"") &&
      output.user_data_bytes == length(nonsensitive(output.user_data))
    )
    error_message = "A script must be sent as one, whatever letters it holds."
  }
}

run "a_member_of_a_fleet_gets_no_token" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "READ:SECRET"
    shared_trust = [for letter in ["A", "B"] : "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : letter])}=="]
  }

  assert {
    condition = nonsensitive(yamldecode(output.user_data).write_files[0].content) == join("", [
      "DROPLAN_FAIL_CLOSED=true\n", "DROPLAN_INTERVAL=5\n", "DROPLAN_LOCK_METADATA=true\n", "DROPLAN_SCOPE=region\n",
      "DROPLAN_SHARED=https://nyc3.digitaloceanspaces.com/bucket/fleet\n", "DROPLAN_SHARED_KEY=READ:SECRET\n",
      "DROPLAN_SHARED_TRUST=${join(",", var.shared_trust)}\n",
    ])
    error_message = "A member is told where the list is, the key that reads, and whom to believe."
  }

  assert {
    condition     = !strcontains(nonsensitive(output.user_data), "DO_KEY") && !strcontains(nonsensitive(output.user_data), "publish.env")
    error_message = "A member holds no token, and nothing of a publisher's."
  }
}

run "a_publisher_gets_files_of_its_own" {
  command = plan

  variables {
    do_key       = null
    shared       = "https://nyc3.digitaloceanspaces.com/bucket/fleet"
    shared_key   = "READ:SECRET"
    shared_trust = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE${join("", [for i in range(86) : "A"])}=="]
    publisher = {
      do_key      = "dop_v1_${join("", [for i in range(64) : "0"])}"
      shared_key  = "WRITE:SECRET"
      signing_key = "\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    }
  }

  assert {
    condition = [for entry in nonsensitive(yamldecode(output.user_data).write_files) : entry if contains(["/etc/droplan/publish.env", "/etc/droplan/fleet.key"], entry.path)] == [
      {
        path        = "/etc/droplan/publish.env"
        permissions = "0600"
        content = join("", [
          "DO_KEY=${var.publisher.do_key}\n", "DROPLAN_SHARED=${var.shared}\n", "DROPLAN_SHARED_KEY=WRITE:SECRET\n",
          "DROPLAN_SHARED_TRUST=${var.shared_trust[0]}\n", "DROPLAN_SIGNING_KEY=/etc/droplan/fleet.key\n",
        ])
      },
      {
        path        = "/etc/droplan/fleet.key"
        permissions = "0600"
        content     = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
      },
    ]
    error_message = "A publisher's files are for root alone."
  }

  assert {
    condition     = !strcontains(nonsensitive(yamldecode(output.user_data).write_files[0].content), "DO_KEY")
    error_message = "Its own interface is guarded as a member's is: without the token."
  }
}
