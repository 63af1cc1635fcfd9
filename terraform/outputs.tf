output "user_data" {
  description = "Text for the Droplet's user_data. It holds the token: never make it a root output."
  value       = local.user_data
  sensitive   = true

  precondition {
    condition     = (var.do_key == null) == (var.shared != null)
    error_message = "Set either do_key, with which the Droplet asks the API itself, or shared, where a publisher writes what it needs."
  }

  precondition {
    condition     = var.do_key == null || can(regex("^(do[op]_v1_)?[0-9a-f]{64}$", var.do_key))
    error_message = "do_key is not a DigitalOcean API token (dop_v1_ and 64 hexadecimal digits): copy it again, without blanks. It is not shown here."
  }

  precondition {
    condition     = var.shared == null ? var.shared_key == null : can(regex("^[A-Za-z0-9_./+=-]+:[A-Za-z0-9_./+=-]+$", var.shared_key))
    error_message = "shared needs shared_key, the bucket's key that reads, as ID:SECRET; without shared there is none. It is not shown here."
  }

  precondition {
    condition     = var.publisher == null || var.shared != null
    error_message = "publisher needs shared: where it writes."
  }

  precondition {
    condition     = var.publisher == null || can(regex("^(do[op]_v1_)?[0-9a-f]{64}$", var.publisher.do_key))
    error_message = "publisher.do_key is not a DigitalOcean API token (dop_v1_ and 64 hexadecimal digits): copy it again, without blanks. It is not shown here."
  }

  precondition {
    condition     = var.publisher == null || can(regex("^[A-Za-z0-9_./+=-]+:[A-Za-z0-9_./+=-]+$", var.publisher.shared_key))
    error_message = "publisher.shared_key is not the bucket's key that writes, as ID:SECRET. It is not shown here."
  }

  precondition {
    condition     = var.publisher == null || can(regex("^\\s*-----BEGIN (EC )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END (EC )?PRIVATE KEY-----\\s*$", var.publisher.signing_key))
    error_message = "publisher.signing_key is not the text of the file that `droplan fleet key FILE` wrote. It is not shown here."
  }

  precondition {
    condition     = var.extra_user_data == null || can(regex("^(#cloud-config[ \\t]*\\r?\\n|#!)", var.extra_user_data))
    error_message = "extra_user_data must begin with a line #cloud-config, or with #! as a script does. It is not shown here."
  }

  precondition {
    condition     = local.user_data_bytes <= 65536
    error_message = "The user data would be larger than the 64 KiB that DigitalOcean takes: shorten extra_user_data, or let it download its files."
  }
}

output "user_data_sha1" {
  description = "SHA-1 of user_data, which is what the provider keeps of it in the state."
  value       = nonsensitive(sha1(local.user_data))
}

output "user_data_bytes" {
  description = "Size of user_data in bytes; DigitalOcean takes up to 65536."
  value       = nonsensitive(local.user_data_bytes)
}
