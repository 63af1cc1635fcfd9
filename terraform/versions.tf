# No provider: the module only turns its inputs into text, so it works with every way of creating a Droplet.
terraform {
  required_version = ">= 1.9"
}
