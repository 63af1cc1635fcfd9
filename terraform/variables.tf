# A `validation` block prints the value that it rejects, so the sensitive variables are checked by preconditions of
# the output instead (outputs.tf).

variable "do_key" {
  description = "DigitalOcean API token with the scope droplet:read (tag:read with `tag`, vpc:read with scope \"vpc\"). It ends up in the Droplet's user data."
  type        = string
  sensitive   = true
  nullable    = false
}

variable "droplan_url" {
  description = "Where Droplets download droplan.pyz, by https."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^https://[A-Za-z0-9._~:/?#@!&()*+,;=%-]+$", var.droplan_url))
    error_message = "droplan_url must be an https:// address without blanks or quotes."
  }
}

variable "droplan_sha256" {
  description = "SHA-256 of that file as 64 lower-case hexadecimal digits: filesha256(\"dist/droplan.pyz\"), or the release's droplan.pyz.sha256. Droplets run nothing else."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.droplan_sha256))
    error_message = "droplan_sha256 must be 64 lower-case hexadecimal digits: use filesha256()."
  }
}

variable "tag" {
  description = "Only Droplets with this tag are peers; null for all. It must be among the Droplet's own `tags` as well."
  type        = string
  default     = null

  validation {
    condition     = var.tag == null || can(regex("^[A-Za-z0-9_:-]{1,255}$", var.tag))
    error_message = "tag must be 1 to 255 letters, digits, colons, dashes and underscores."
  }
}

variable "scope" {
  description = "Which Droplets can be peers: those of the same \"region\", of the same \"vpc\" and its active peerings, or of the whole \"account\"."
  type        = string
  default     = "region"
  nullable    = false

  validation {
    condition     = contains(["region", "vpc", "account"], var.scope)
    error_message = "scope must be \"region\", \"vpc\" or \"account\"."
  }
}

variable "allow" {
  description = "Who else may come in, such as a load balancer or a managed database: entries of the form CIDR, proto/port@CIDR or proto/port, with proto tcp or udp."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([
      for entry in var.allow :
      can(regex("^(tcp|udp)/[0-9]{1,5}$", entry)) || can(regex("^((tcp|udp)/[0-9]{1,5}@)?[0-9a-fA-F.:]+(/[0-9]{1,3})?$", entry))
    ])
    error_message = "allow takes entries such as \"10.0.0.0/24\", \"tcp/5432@10.0.0.0/24\" and \"udp/51820\"."
  }

  validation {
    # The first address of a network is the one that stands before the slash, unless host bits are set.
    condition = alltrue([
      for network in [for entry in var.allow : reverse(split("@", entry))[0] if !can(regex("^[a-z]+/[0-9]+$", entry))] :
      can(cidrhost(strcontains(network, "/") ? network : "${network}/${strcontains(network, ":") ? 128 : 32}", 0)) &&
      (!strcontains(network, "/") || try(
        cidrhost(network, 0) == cidrhost("${split("/", network)[0]}/${strcontains(network, ":") ? 128 : 32}", 0), false
      ))
    ])
    error_message = "allow needs networks whose host bits are zero, such as \"10.0.0.0/24\" and not \"10.0.0.5/24\"."
  }

  validation {
    condition = alltrue([
      for port in flatten([for entry in var.allow : try(regex("^[a-z]+/([0-9]+)", entry), [])]) :
      tonumber(port) >= 1 && tonumber(port) <= 65535
    ])
    error_message = "allow takes ports from 1 to 65535."
  }

  validation {
    condition     = !anytrue([for entry in var.allow : can(regex("^[0-9a-fA-F.:]+/0$", entry))])
    error_message = "allow must not let everyone in: name the networks, or a proto/port."
  }
}

variable "public" {
  description = "Guard the public interface too: only peers' public addresses, and what `allow` names, get in. Allow your SSH first, such as \"tcp/22@203.0.113.0/24\"."
  type        = bool
  default     = false
  nullable    = false
}

variable "interval" {
  description = "Minutes between two refreshes, 1 to 60: how long a new peer waits at most, and a removed one still gets in."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.interval >= 1 && var.interval <= 60 && floor(var.interval) == var.interval
    error_message = "interval must be a whole number of minutes from 1 to 60."
  }
}

variable "fail_closed" {
  description = "Close the private interface when the very first bootstrap fails, and keep it closed until one succeeds. With false it stays open until then."
  type        = bool
  default     = true
  nullable    = false
}

variable "lock_metadata" {
  description = "Let only root reach the metadata service (169.254.169.254), which shows the user data, and with it the token, to every local process."
  type        = bool
  default     = true
  nullable    = false
}

variable "extra_user_data" {
  description = "Your own user data, combined with droplan's: a #cloud-config, or a script that begins with #!. Null for none."
  type        = string
  default     = null
  sensitive   = true
}
