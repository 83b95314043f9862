# Secrets themselves are made elsewhere, so that no value is in Terraform's state:
#   openssl rand -base64 32 | gcloud secrets create distilwatch-hmac --data-file=-
# Here workers only get the right to read the ones that are named, one by one.
resource "google_secret_manager_secret_iam_member" "worker" {
  for_each = var.secrets

  project   = var.project
  secret_id = each.value.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.worker.member
}

locals {
  # As the template's parameter has it: names and numbers, no values.
  named_secrets = join(";", [
    for variable, about in var.secrets :
    "${variable}=projects/${var.project}/secrets/${about.secret}/versions/${about.version}"
  ])
}
