# What is passing, bundles and settings. Nothing in it holds prompts or raw fingerprints; job graphs
# name secrets and do not hold them.
resource "google_storage_bucket" "job" {
  project                     = var.project
  name                        = "${var.project}-${var.name}-dataflow"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = var.labels

  versioning {
    enabled = true
  }

  # Not staging/ and bundles/: a worker that comes in a month fetches both.
  lifecycle_rule {
    condition {
      age            = 30
      matches_prefix = ["tmp/"]
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 30
    }
    action {
      type = "Delete"
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

# Under its own digest: an update of the job with other settings reads another object.
resource "google_storage_bucket_object" "settings" {
  count = var.settings == null ? 0 : 1

  bucket       = google_storage_bucket.job.name
  name         = "settings/${filesha256(var.settings)}.yaml"
  source       = var.settings
  content_type = "application/yaml"
}

resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = var.name
  format        = "DOCKER"
  kms_key_name  = var.kms_key

  docker_config {
    immutable_tags = true
  }
}
