variable "name" {
  description = "Name of the VPC and the tag, and beginning of the Droplets' names."
  type        = string
  default     = "fleet"
}

variable "droplet_count" {
  description = "How many Droplets."
  type        = number
  default     = 2
}

variable "bucket" {
  description = "Name of the Spaces bucket to create; bucket names are unique in a region across all customers."
  type        = string
}

variable "droplan_pyz" {
  description = "Path of the zipapp: dist/droplan.pyz, as script/build makes it or as released."
  type        = string
  default     = "../../../dist/droplan.pyz"
}

variable "do_key" {
  description = "Token for the Droplets, with the scopes droplet:read, tag:read and vpc:read only and an expiry date. Set TF_VAR_do_key rather than a file."
  type        = string
  sensitive   = true
}

variable "allow" {
  description = "Who else may come in on the private interface, such as [\"tcp/80@10.110.0.4\"] for a load balancer."
  type        = list(string)
  default     = []
}

variable "interval" {
  description = "Minutes between two refreshes: how long a new Droplet waits at most."
  type        = number
  default     = 5
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
