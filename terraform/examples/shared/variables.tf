variable "name" {
  description = "Name of the VPC, and beginning of the names of Droplets and keys."
  type        = string
  default     = "fleet"
}

variable "member_count" {
  description = "How many Droplets besides the two publishers."
  type        = number
  default     = 2
}

variable "bucket" {
  description = "Name of the Spaces bucket to create; bucket names are unique in a region across all customers."
  type        = string
}

variable "droplan_url" {
  description = "Where Droplets download droplan.pyz (https)."
  type        = string
}

variable "droplan_sha256" {
  description = "SHA-256 of droplan.pyz, from droplan.pyz.sha256 of the release."
  type        = string
}

variable "do_key" {
  description = "Token for the publishers, with the scopes droplet:read, vpc:read and actions:read only and an expiry date. Set TF_VAR_do_key rather than a file."
  type        = string
  sensitive   = true
}

variable "signing_key" {
  description = "Text of the file that `droplan fleet key FILE` wrote; only publishers get it. Set TF_VAR_signing_key rather than a file."
  type        = string
  sensitive   = true
}

variable "trust" {
  description = "What that command printed: the public key. Two of them while the key is being changed."
  type        = list(string)
}

variable "region" {
  description = "Region of everything here; it must offer Spaces."
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
