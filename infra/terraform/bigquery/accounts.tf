# One account for each thing that runs, each with what it needs. There are no keys: use workload
# identity, or impersonation.
resource "google_service_account" "writer" {
  project      = var.project
  account_id   = "distilwatch-writer"
  display_name = "distilwatch: writes the tables"
}

resource "google_service_account" "history" {
  project      = var.project
  account_id   = "distilwatch-history"
  display_name = "distilwatch: reads history to train from"
}

resource "google_service_account" "scheduler" {
  project      = var.project
  account_id   = "distilwatch-scheduler"
  display_name = "distilwatch: runs the scheduled queries"
}

resource "google_service_account" "desk" {
  project      = var.project
  account_id   = "distilwatch-desk"
  display_name = "distilwatch: serves the triage pages"
}

locals {
  # The writer replaces rows by key, so it must read keys in clear; the scheduler deletes by them;
  # people at the desk decide about accounts by name; training leaves out those that were decided on,
  # and would see empty lists of them.
  service_members = {
    writer    = google_service_account.writer.member
    desk      = google_service_account.desk.member
    scheduler = google_service_account.scheduler.member
    history   = google_service_account.history.member
  }
}

resource "google_bigquery_dataset_iam_member" "writer" {
  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.writer.member
}

resource "google_bigquery_dataset_iam_member" "scheduler" {
  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.scheduler.member
}

resource "google_bigquery_dataset_iam_member" "scheduler_views" {
  project    = var.project
  dataset_id = google_bigquery_dataset.views.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.scheduler.member
}

# The desk reads tables and views, and writes what people decided, nothing else.
resource "google_bigquery_dataset_iam_member" "desk" {
  for_each = {
    tables = google_bigquery_dataset.tables.dataset_id
    views  = google_bigquery_dataset.views.dataset_id
  }

  project    = var.project
  dataset_id = each.value
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.desk.member
}

resource "google_bigquery_table_iam_member" "desk" {
  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id
  table_id   = google_bigquery_table.tables["dispositions"].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.desk.member
}

resource "google_project_iam_member" "jobs" {
  for_each = {
    writer    = google_service_account.writer.member
    desk      = google_service_account.desk.member
    history   = google_service_account.history.member
    scheduler = google_service_account.scheduler.member
  }

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = each.value
}

# The Storage Read API; which tables of events they may read is for their owners to grant. The writer
# copies its own tables with it, too (tables fetch, dlq, alerts test-policy).
resource "google_project_iam_member" "read_sessions" {
  for_each = {
    writer  = google_service_account.writer.member
    history = google_service_account.history.member
  }

  project = var.project
  role    = "roles/bigquery.readSessionUser"
  member  = each.value
}

# What people decided teaches train (--dispositions); of the tables it reads nothing else. It asks where
# the dataset is, which the right on a table does not allow.
resource "google_bigquery_dataset_iam_member" "history" {
  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id
  role       = "roles/bigquery.metadataViewer"
  member     = google_service_account.history.member
}

resource "google_bigquery_table_iam_member" "history" {
  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id
  table_id   = google_bigquery_table.tables["dispositions"].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.history.member
}
