locals {
  subnetwork = (
    var.subnetwork == null
    ? "regions/${var.region}/subnetworks/${try(google_compute_subnetwork.workers[0].name, "")}"
    : var.subnetwork
  )
  streams = anytrue([for uri in var.inputs : strcontains(uri, "bounded=false")])
}

# A changed parameter updates the running job: Dataflow checks that the new graph fits the old one's
# state, and refuses otherwise (docs/dataflow.md, Update). Taking the resource away drains it.
resource "google_dataflow_flex_template_job" "detect" {
  provider = google-beta
  count    = var.template == null ? 0 : 1

  project                      = var.project
  region                       = var.region
  name                         = "distilwatch-${var.run_id}"
  container_spec_gcs_path      = var.template
  sdk_container_image          = var.image
  service_account_email        = google_service_account.worker.email
  subnetwork                   = local.subnetwork
  ip_configuration             = "WORKER_IP_PRIVATE"
  enable_streaming_engine      = local.streams
  machine_type                 = var.machine_type
  launcher_machine_type        = "n2-standard-2"
  num_workers                  = var.workers
  max_workers                  = var.max_workers
  autoscaling_algorithm        = "THROUGHPUT_BASED"
  staging_location             = "${google_storage_bucket.job.url}/staging"
  temp_location                = "${google_storage_bucket.job.url}/tmp"
  kms_key_name                 = var.kms_key
  labels                       = var.labels
  additional_experiments       = ["use_runner_v2"]
  transform_name_mapping       = var.transform_name_mapping
  on_delete                    = local.streams ? "drain" : "cancel"
  skip_wait_on_job_termination = false

  parameters = merge(
    {
      inputs  = join(";", var.inputs)
      bundle  = var.bundle
      output  = "bigquery://${local.dataset_project}/${var.dataset}"
      run_id  = var.run_id
      secrets = local.named_secrets
    },
    var.settings == null ? {} : {
      config = "gs://${google_storage_bucket.job.name}/${google_storage_bucket_object.settings[0].name}"
    }
  )

  lifecycle {
    precondition {
      condition     = var.image != null
      error_message = "Give the image that the template was built with, by digest."
    }
  }

  # Rights first: a launcher without them fails, and the job with it.
  depends_on = [
    google_artifact_registry_repository_iam_member.worker,
    google_bigquery_dataset_iam_member.worker,
    google_project_iam_member.worker,
    google_project_iam_member.worker_merges,
    google_secret_manager_secret_iam_member.worker,
    google_service_account_iam_member.itself,
    google_storage_bucket_iam_member.worker,
  ]
}
