# A `validation` block prints the value that it rejects, so the sensitive variables are checked by preconditions of
# the output instead (outputs.tf).

variable "do_key" {
  description = "DigitalOcean API token with the scope droplet:read (tag:read with `tags` or \"tag:\" in `allow`, vpc:read with scope \"vpc\"). It ends up in the Droplet's user data. Null with `shared`: a fleet's Droplets hold no token."
  type        = string
  default     = null
  sensitive   = true
}

variable "shared" {
  description = "Instead of `do_key`, for large fleets: https address of the bucket, and a prefix in it, where a publisher writes who the fleet's Droplets are. Null for none."
  type        = string
  default     = null

  validation {
    condition     = var.shared == null || can(regex("^https://[A-Za-z0-9_.-]+(:[0-9]+)?/[A-Za-z0-9_./-]*[A-Za-z0-9_.-]$", var.shared))
    error_message = "shared must be the https:// address of a bucket and a prefix, such as \"https://nyc3.digitaloceanspaces.com/BUCKET/fleet\"."
  }

  validation {
    condition     = (var.shared == null) == (length(var.shared_trust) == 0)
    error_message = "shared and shared_trust go together: set both or none."
  }
}

variable "shared_key" {
  description = "Key of that bucket that reads, as \"ID:SECRET\"."
  type        = string
  default     = null
  sensitive   = true
}

variable "shared_trust" {
  description = "Public keys, one or two, of those who may sign the list: what `droplan fleet key FILE` prints."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    # 91 bytes in base64, beginning with what says P-256 (RFC 5480).
    condition     = length(var.shared_trust) <= 2 && alltrue([for key in var.shared_trust : can(regex("^MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE[A-Za-z0-9+/]{86}==$", key))])
    error_message = "shared_trust takes one or two public keys as `droplan fleet key FILE` prints them."
  }
}

variable "publisher" {
  description = "Makes the Droplet a publisher of `shared`: an API token of its own (`do_key`), the bucket's key that writes (`shared_key`, \"ID:SECRET\"), and the private key that `droplan fleet key FILE` wrote (`signing_key`, the file's text). Null for a member."
  type = object({
    do_key      = string
    shared_key  = string
    signing_key = string
  })
  default   = null
  sensitive = true
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

variable "tags" {
  description = "Only Droplets with one of these tags are peers; empty for all. One of them must be among the Droplet's own `tags` as well."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for tag in var.tags : can(regex("^[A-Za-z0-9_:-]{1,255}$", tag))])
    error_message = "tags must each be 1 to 255 letters, digits, colons, dashes and underscores."
  }
}

variable "tag" {
  description = "One more of `tags`, as before there were several; null for none."
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

variable "peer_ports" {
  description = "What peers may reach: services such as \"tcp/80\", \"udp/53\", \"tcp/8000-8100\", \"icmp\", \"proto/47\"; null for everything, [] for nothing."
  type        = list(string)
  default     = null

  validation {
    condition     = alltrue([for entry in coalesce(var.peer_ports, []) : can(regex("^((tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?|icmp|proto/[0-9]{1,3})$", entry))])
    error_message = "peer_ports takes services such as \"tcp/80\", \"udp/53\", \"tcp/8000-8100\", \"icmp\" and \"proto/47\"; who may come in besides the peers belongs into allow."
  }

  validation {
    condition = alltrue([
      for range in [for entry in coalesce(var.peer_ports, []) : regex("/([0-9]+)(?:-([0-9]+))?$", entry) if can(regex("^(tcp|udp)/[0-9]+(-[0-9]+)?$", entry))] :
      tonumber(range[0]) >= 1 && tonumber(range[0]) <= tonumber(coalesce(range[1], range[0])) && tonumber(coalesce(range[1], range[0])) <= 65535
    ])
    error_message = "peer_ports takes ports from 1 to 65535, the lower one of a range first."
  }

  validation {
    condition = alltrue([
      for number in flatten([for entry in coalesce(var.peer_ports, []) : try(regex("^proto/([0-9]+)$", entry), [])]) :
      tonumber(number) >= 1 && tonumber(number) <= 255
    ])
    error_message = "peer_ports takes protocols by their number from 1 to 255."
  }
}

variable "allow" {
  description = "Who else may come in, such as a load balancer or Droplets of another tier: SOURCE, SERVICE@SOURCE or SERVICE. SOURCE is a CIDR, \"tag:NAME\", \"droplet:NAME\" or \"k8s:CLUSTER_UUID\"; SERVICE is as in `peer_ports`."
  type        = list(string)
  default     = []
  nullable    = false

  # These hold for allow_public too: the same words, and here they stand once.
  validation {
    condition = alltrue([
      for entry in concat(var.allow, coalesce(var.allow_public, [])) :
      can(regex("^((tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?|icmp|proto/[0-9]{1,3})$", entry)) ||
      can(regex("^(((tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?|icmp|proto/[0-9]{1,3})@)?([0-9a-fA-F.:]+(/[0-9]{1,3})?|tag:[A-Za-z0-9_:-]{1,255}|droplet:[A-Za-z0-9.-]{1,255}|k8s:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$", entry))
    ])
    error_message = "allow and allow_public take entries such as \"10.0.0.0/24\", \"tag:web\", \"tcp/5432@tag:web\", \"tcp/8000-8100@droplet:web-1\", \"k8s:CLUSTER_UUID\", \"udp/51820\" and \"icmp\"."
  }

  validation {
    # The first address of a network is the one that stands before the slash, unless host bits are set.
    condition = alltrue([
      for network in [for entry in concat(var.allow, coalesce(var.allow_public, [])) : reverse(split("@", entry))[0] if !can(regex("^([a-z]+/[0-9-]+|icmp|(.*@)?(tag|droplet|k8s):.*)$", entry))] :
      can(cidrhost(strcontains(network, "/") ? network : "${network}/${strcontains(network, ":") ? 128 : 32}", 0)) &&
      (!strcontains(network, "/") || try(
        cidrhost(network, 0) == cidrhost("${split("/", network)[0]}/${strcontains(network, ":") ? 128 : 32}", 0), false
      ))
    ])
    error_message = "allow and allow_public need networks whose host bits are zero, such as \"10.0.0.0/24\" and not \"10.0.0.5/24\"."
  }

  validation {
    condition = alltrue([
      for range in [for entry in concat(var.allow, coalesce(var.allow_public, [])) : regex("^[a-z]+/([0-9]+)(?:-([0-9]+))?(?:@|$)", entry) if can(regex("^(tcp|udp)/[0-9]+(-[0-9]+)?(@|$)", entry))] :
      tonumber(range[0]) >= 1 && tonumber(range[0]) <= tonumber(coalesce(range[1], range[0])) && tonumber(coalesce(range[1], range[0])) <= 65535
    ])
    error_message = "allow and allow_public take ports from 1 to 65535, the lower one of a range first."
  }

  validation {
    condition = alltrue([
      for number in flatten([for entry in concat(var.allow, coalesce(var.allow_public, [])) : try(regex("^proto/([0-9]+)(?:@|$)", entry), [])]) :
      tonumber(number) >= 1 && tonumber(number) <= 255
    ])
    error_message = "allow and allow_public take protocols by their number from 1 to 255."
  }

  validation {
    condition     = !anytrue([for entry in concat(var.allow, coalesce(var.allow_public, [])) : can(regex("^[0-9a-fA-F.:]+/0$", entry))])
    error_message = "allow and allow_public must not let everyone in: name the networks, or a service."
  }
}

variable "allow_public" {
  description = "Where it is set, who else may come in from the public network, in the words of `allow`, which then holds for the private one alone; [] for nobody. Null: `allow` holds for both."
  type        = list(string)
  default     = null
}

variable "public" {
  description = "Guard the public interface too: only peers' public addresses, and what `allow_public` or else `allow` names, get in. Allow your SSH first, such as \"tcp/22@203.0.113.0/24\"."
  type        = bool
  default     = false
  nullable    = false
}

variable "mode" {
  description = "\"enforce\", or \"observe\": nobody is shut out, not by `fail_closed` either, and `droplan blocked` names who would be."
  type        = string
  default     = "enforce"
  nullable    = false

  validation {
    condition     = contains(["enforce", "observe"], var.mode)
    error_message = "mode must be \"enforce\" or \"observe\"."
  }
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
  description = "Close the private interface before the bootstrap fetches anything; the first refresh of the installation opens it to peers. With false it stays open to all until then, as with an installation by hand, where the Droplet serves somebody already; a new one serves nobody yet."
  type        = bool
  default     = true
  nullable    = false
}

variable "watch" {
  description = "Run the watcher: a new peer is in within seconds, foreign changes of the rules are put right, and `droplan blocked` names who was shut out. Without it all waits for the next refresh."
  type        = bool
  default     = true
  nullable    = false
}

variable "lock_metadata" {
  description = "Let only root reach the metadata service (169.254.169.254), which shows the user data, and with it the token, to every local process. An installation by hand leaves it open: its token is in no user data, and other programs may ask the service."
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
