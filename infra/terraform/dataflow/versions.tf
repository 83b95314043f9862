terraform {
  required_version = ">= 1.6"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.36, < 8.0"
    }
    # Flex Template jobs are in the beta provider only.
    google-beta = {
      source  = "hashicorp/google-beta"
      version = ">= 6.36, < 8.0"
    }
  }
}
