variable "name" {
  description = "Name of the VPC, and beginning of the Droplets' names."
  type        = string
  default     = "shop"
}

variable "do_key" {
  description = "Token for the Droplets, with the scopes droplet:read, tag:read and vpc:read only and an expiry date. Set TF_VAR_do_key rather than a file."
  type        = string
  sensitive   = true
}

variable "droplan_url" {
  description = "Where droplan.pyz is, by https."
  type        = string
}

variable "droplan_sha256" {
  description = "SHA-256 of droplan.pyz, as in droplan.pyz.sha256."
  type        = string
}

variable "interval" {
  description = "Minutes between two refreshes: how long a Droplet that gets or loses a tag waits at most."
  type        = number
  default     = 5
}

variable "region" {
  description = "Region of everything here."
  type        = string
  default     = "nyc3"
}

variable "image" {
  description = "Image of the Droplets."
  type        = string
  default     = "debian-13-x64"
}

variable "ssh_keys" {
  description = "Fingerprints or ids of the SSH keys that may log in."
  type        = list(string)
  default     = []
}
