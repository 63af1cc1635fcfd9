"""What our Terraform code runs on: terraform, a stub of the provider, cloud-init, a sandbox for user data."""
