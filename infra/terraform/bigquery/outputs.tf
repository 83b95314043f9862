output "output_uri" {
  description = "What `distilwatch detect --output` takes."
  value       = "bigquery://${var.project}/${google_bigquery_dataset.tables.dataset_id}"
}

output "views_dataset" {
  description = "Dataset that analysts ask."
  value       = local.views_prefix
}

output "service_accounts" {
  description = "Accounts to run as: writer for detect, history for train and for reading events, scheduler for the scheduled queries."
  value = {
    writer    = google_service_account.writer.email
    history   = google_service_account.history.email
    scheduler = google_service_account.scheduler.email
  }
}
