output "bucket" {
  description = "Bucket of bundles, settings and what is passing."
  value       = google_storage_bucket.job.name
}

output "repository" {
  description = "Where images are pushed to, as REGION-docker.pkg.dev/PROJECT/REPOSITORY."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "service_account" {
  description = "Account of launcher and workers; brokers and owners of events let it in."
  value       = google_service_account.worker.email
}

output "subnetwork" {
  description = "Subnetwork of the workers, which must be connected to that of the brokers."
  value       = local.subnetwork
}

output "job_id" {
  description = "Dataflow's id of the job; null without a template."
  value       = one(google_dataflow_flex_template_job.detect[*].job_id)
}
