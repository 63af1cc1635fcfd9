locals {
  # The file that people paste is the template: what is tried there is what Terraform sends.
  pasted = yamldecode(file("${path.module}/../cloud-init/user-data.yaml"))

  tags = distinct(concat(var.tag == null ? [] : [var.tag], var.tags))

  # Null leaves a setting at droplan's default.
  settings = {
    DO_KEY                = var.do_key
    DROPLAN_SHARED        = var.shared
    DROPLAN_SHARED_KEY    = var.shared_key
    DROPLAN_SHARED_TRUST  = length(var.shared_trust) > 0 ? join(",", var.shared_trust) : null
    DO_TAG                = length(local.tags) > 0 ? join(",", local.tags) : null
    DROPLAN_SCOPE         = var.scope
    DROPLAN_PEER_PORTS    = var.peer_ports == null ? null : length(var.peer_ports) > 0 ? join(",", var.peer_ports) : "none"
    DROPLAN_ALLOW         = length(var.allow) > 0 ? join(",", var.allow) : null
    DROPLAN_ALLOW_PUBLIC  = var.allow_public == null ? null : length(var.allow_public) > 0 ? join(",", var.allow_public) : "none"
    PUBLIC                = var.public ? "true" : null
    DROPLAN_MODE          = var.mode == "enforce" ? null : var.mode
    DROPLAN_INTERVAL      = tostring(var.interval)
    DROPLAN_FAIL_CLOSED   = tostring(var.fail_closed)
    DROPLAN_WATCH         = var.watch ? null : "false"
    DROPLAN_LOCK_METADATA = tostring(var.lock_metadata)
  }

  filled_in = {
    "/etc/droplan/droplan.env"    = join("", [for name, value in local.settings : "${name}=${value}\n" if value != null])
    "/opt/droplan/bootstrap.conf" = "URL='${var.droplan_url}'\nSHA256='${var.droplan_sha256}'\n"
  }

  # Only a publisher has these, and it reads nothing else (docs/scale.md).
  publisher_files = nonsensitive(var.publisher == null) ? [] : [
    {
      path        = "/etc/droplan/publish.env"
      permissions = "0600"
      content = join("", [
        "DO_KEY=${var.publisher.do_key}\n",
        "DROPLAN_SHARED=${coalesce(var.shared, "-")}\n",
        "DROPLAN_SHARED_KEY=${var.publisher.shared_key}\n",
        "DROPLAN_SHARED_TRUST=${join(",", var.shared_trust)}\n",
        "DROPLAN_SIGNING_KEY=/etc/droplan/fleet.key\n",
      ])
    },
    {
      path        = "/etc/droplan/fleet.key"
      permissions = "0600"
      content     = "${trimspace(var.publisher.signing_key)}\n"
    },
  ]

  write_files = concat([
    for entry in local.pasted.write_files :
    merge(entry, contains(keys(local.filled_in), entry.path) ? { content = local.filled_in[entry.path] } : {})
  ], local.publisher_files)

  alone = "#cloud-config\n${yamlencode({ write_files = local.write_files, runcmd = local.pasted.runcmd })}"

  # Together with somebody else's user data, the bootstrap is a script of its own and not a runcmd: its exit status
  # counts by itself whatever their runcmd does, and its name sorts before theirs, so that the interface closes first.
  # The files come last and are appended, so that neither part's write_files replaces the other's.
  boundary = "==droplan-user-data=="
  parts = [
    {
      headers = [
        "Content-Type: ${startswith(coalesce(var.extra_user_data, "#!"), "#!") ? "text/x-shellscript" : "text/cloud-config"}; charset=\"utf-8\"",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment; filename=\"extra-user-data\"",
      ]
      body = base64encode(coalesce(var.extra_user_data, "#!"))
    },
    {
      headers = [
        "Content-Type: text/x-shellscript; charset=\"us-ascii\"",
        "Content-Disposition: attachment; filename=\"00-droplan\"",
      ]
      body = "#!/bin/sh\nexec ${join(" ", local.pasted.runcmd[0])}\n"
    },
    {
      headers = [
        "Content-Type: text/cloud-config; charset=\"us-ascii\"",
        "Content-Disposition: attachment; filename=\"droplan.yaml\"",
        "Merge-Type: list(append)+dict(recurse_list)+str()",
      ]
      body = "#cloud-config\n${yamlencode({ write_files = local.write_files })}"
    },
  ]
  combined = join("", concat(
    ["Content-Type: multipart/mixed; boundary=\"${local.boundary}\"\nMIME-Version: 1.0\n\n"],
    [for part in local.parts : "--${local.boundary}\n${join("\n", part.headers)}\n\n${part.body}\n"],
    ["--${local.boundary}--\n"],
  ))

  user_data = var.extra_user_data == null ? local.alone : local.combined

  # length() counts characters, not bytes; base64 turns 3 bytes into 4 characters and pads with "=".
  user_data_base64 = base64encode(local.user_data)
  user_data_bytes  = length(local.user_data_base64) / 4 * 3 - (length(local.user_data_base64) - length(trim(local.user_data_base64, "=")))
}
