variable "do_key" {
  description = "Token for the Droplets, with the scopes droplet:read, tag:read and vpc:read only and an expiry date. Set TF_VAR_do_key rather than a file."
  type        = string
  sensitive   = true
}

variable "droplan_url" {
  description = "Where the Droplets download droplan.pyz (https)."
  type        = string
}

variable "droplan_sha256" {
  description = "SHA-256 of droplan.pyz, from droplan.pyz.sha256 of the release."
  type        = string
}

variable "admins" {
  description = "Networks from which the Droplets' public addresses take SSH, such as [\"203.0.113.0/24\"]. Without yours among them, only the console gets you in."
  type        = list(string)
}

variable "name" {
  description = "Name of the VPC, the load balancer and the database, and beginning of the other names."
  type        = string
  default     = "shop"
}

variable "droplet_count" {
  description = "How many web servers."
  type        = number
  default     = 2
}

variable "ip_range" {
  description = "Network of the VPC; no other VPC of the account may have it."
  type        = string
  default     = "10.120.0.0/20"
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
