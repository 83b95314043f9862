# The account of launcher and workers, with what they need; the reason stands above each role. There
# are no keys of it.
resource "google_service_account" "worker" {
  project      = var.project
  account_id   = "${var.name}-worker"
  display_name = "distilwatch: Dataflow launcher and workers"
}

locals {
  dataset_project = coalesce(var.dataset_project, var.project)

  # In the job's project.
  worker_roles = {
    # Takes work from Dataflow, and reports to it.
    work = "roles/dataflow.worker"
    # The launcher of the Flex Template creates the job; reading it is needed to update it.
    launch = "roles/dataflow.developer"
    # Metrics of workers in Cloud Monitoring.
    metrics = "roles/monitoring.metricWriter"
    # Logs of workers, without which nobody sees why one failed.
    logs = "roles/logging.logWriter"
  }
}

resource "google_project_iam_member" "worker" {
  for_each = local.worker_roles

  project = var.project
  role    = each.value
  member  = google_service_account.worker.member
}

# Reads bundles and settings, writes what is passing: this bucket and no other.
resource "google_storage_bucket_iam_member" "worker" {
  bucket = google_storage_bucket.job.name
  role   = "roles/storage.objectAdmin"
  member = google_service_account.worker.member
}

# Google's libraries ask whether the bucket is there, which roles on objects do not allow.
resource "google_storage_bucket_iam_member" "worker_looks" {
  bucket = google_storage_bucket.job.name
  role   = "roles/storage.legacyBucketReader"
  member = google_service_account.worker.member
}

# Pulls the image of launcher and workers.
resource "google_artifact_registry_repository_iam_member" "worker" {
  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.worker.member
}

# Merges rows into the tables: this dataset and no other.
resource "google_bigquery_dataset_iam_member" "worker" {
  project    = local.dataset_project
  dataset_id = var.dataset
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.worker.member
}

# MERGE is a job, which this project pays for.
resource "google_project_iam_member" "worker_merges" {
  project = local.dataset_project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.worker.member
}

# Reads events of these tables and no others.
resource "google_bigquery_table_iam_member" "worker" {
  for_each = var.input_tables

  project    = each.value.project
  dataset_id = each.value.dataset
  table_id   = each.value.table
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.worker.member
}

# The Storage Read API, where there are such tables.
resource "google_project_iam_member" "worker_reads" {
  count = length(var.input_tables) > 0 ? 1 : 0

  project = local.dataset_project
  role    = "roles/bigquery.readSessionUser"
  member  = google_service_account.worker.member
}

# Runs in the subnetwork, where another project shares it.
resource "google_compute_subnetwork_iam_member" "worker" {
  count = var.subnetwork == null ? 0 : 1

  subnetwork = var.subnetwork
  role       = "roles/compute.networkUser"
  member     = google_service_account.worker.member
}

# Encrypts under the key, where there is one; Dataflow's and Compute's own agents need it, too, and
# get it from whoever owns the key.
resource "google_kms_crypto_key_iam_member" "worker" {
  count = var.kms_key == null ? 0 : 1

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = google_service_account.worker.member
}

# Those who deploy start jobs …
resource "google_project_iam_member" "deployers" {
  for_each = var.deployers

  project = var.project
  role    = "roles/dataflow.developer"
  member  = each.value
}

# … whose bundles and code they put into the bucket,
resource "google_storage_bucket_iam_member" "deployers" {
  for_each = var.deployers

  bucket = google_storage_bucket.job.name
  role   = "roles/storage.objectAdmin"
  member = each.value
}

# … looking before they start at keys,
resource "google_secret_manager_secret_iam_member" "deployers" {
  for_each = {
    for pair in setproduct(var.deployers, keys(var.secrets)) : "${pair[0]} ${pair[1]}" => pair
  }

  project   = var.project
  secret_id = var.secrets[each.value[1]].secret
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value[0]
}

# … and at tables, which the command makes where they are missing,
resource "google_bigquery_dataset_iam_member" "deployers" {
  for_each = var.deployers

  project    = local.dataset_project
  dataset_id = var.dataset
  role       = "roles/bigquery.dataEditor"
  member     = each.value
}

# … in queries,
resource "google_project_iam_member" "deployers_ask" {
  for_each = var.deployers

  project = local.dataset_project
  role    = "roles/bigquery.jobUser"
  member  = each.value
}

# … as the workers' account.
resource "google_service_account_iam_member" "deployers" {
  for_each = var.deployers

  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

# The launcher starts workers under its own account, which is the same one.
resource "google_service_account_iam_member" "itself" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.worker.member
}
