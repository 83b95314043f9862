output "output_uri" {
  description = "What `distilwatch detect --output` takes."
  value       = "bigquery://${var.project}/${google_bigquery_dataset.tables.dataset_id}"
}

output "views_dataset" {
  description = "Dataset that analysts ask."
  value       = local.views_prefix
}

output "settings" {
  description = "Section bigquery of the settings (--config): tables and views are made here, and where the views are."
  value = {
    create_tables = false
    views_dataset = google_bigquery_dataset.views.dataset_id
  }
}

output "service_accounts" {
  description = "Accounts to run as: writer for detect, share and alerts, history for train and for reading events, desk for triage, scheduler for the scheduled queries."
  value = {
    writer    = google_service_account.writer.email
    desk      = google_service_account.desk.email
    history   = google_service_account.history.email
    scheduler = google_service_account.scheduler.email
  }
}
