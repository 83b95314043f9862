# What changed each day, kept, so that yesterday can still be asked for next week. Clusters of one
# account stay out: their id is a hash of the account's, and `distilwatch forget` does not look here.
resource "google_bigquery_data_transfer_config" "daily_changes" {
  project                = var.project
  location               = var.location
  display_name           = "distilwatch: changes of the day"
  data_source_id         = "scheduled_query"
  schedule               = "every day ${var.daily_at}"
  destination_dataset_id = google_bigquery_dataset.views.dataset_id
  service_account_name   = google_service_account.scheduler.email

  params = {
    destination_table_name_template = "daily_changes_{run_time|\"%Y%m%d\"}"
    write_disposition               = "WRITE_TRUNCATE"
    query                           = "SELECT * FROM `${local.views_prefix}.changes_since_yesterday` WHERE GREATEST(accounts_before, accounts_now) > 1"
  }

  depends_on = [
    google_bigquery_dataset_access.views,
    google_bigquery_dataset_iam_member.scheduler_views,
    google_bigquery_table.second_views,
  ]
}

# Revisions that a newer one replaced.
resource "google_bigquery_data_transfer_config" "old_revisions" {
  count = var.keep_revisions_days > 0 ? 1 : 0

  project              = var.project
  location             = var.location
  display_name         = "distilwatch: old revisions"
  data_source_id       = "scheduled_query"
  schedule             = "every day ${var.daily_at}"
  service_account_name = google_service_account.scheduler.email

  params = {
    query = templatefile("${path.module}/old_revisions.sql", {
      dataset = local.tables_prefix
      days    = var.keep_revisions_days
    })
  }

  depends_on = [
    google_bigquery_dataset_iam_member.scheduler,
    google_bigquery_table.tables,
  ]
}
