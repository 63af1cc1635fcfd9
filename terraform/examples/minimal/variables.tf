variable "do_key" {
  description = "Token for the Droplet, with the scope droplet:read only and an expiry date. Set TF_VAR_do_key rather than a file."
  type        = string
  sensitive   = true
}

variable "droplan_url" {
  description = "Where the Droplet downloads droplan.pyz (https)."
  type        = string
}

variable "droplan_sha256" {
  description = "SHA-256 of droplan.pyz, from droplan.pyz.sha256 of the release."
  type        = string
}

variable "region" {
  description = "Region of the Droplet."
  type        = string
  default     = "nyc3"
}

variable "image" {
  description = "Image of the Droplet."
  type        = string
  default     = "debian-13-x64"
}

variable "ssh_keys" {
  description = "Fingerprints or ids of the SSH keys that may log in."
  type        = list(string)
  default     = []
}
