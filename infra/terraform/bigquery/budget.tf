data "google_project" "this" {
  project_id = var.project
}

resource "google_billing_budget" "bigquery" {
  count = var.billing_account == null ? 0 : 1

  billing_account = var.billing_account
  display_name    = "distilwatch: BigQuery"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
    services = [for service in var.budget_services : "services/${service}"]
  }

  amount {
    specified_amount {
      currency_code = "USD"
      units         = tostring(var.monthly_budget_usd)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  threshold_rules {
    threshold_percent = 1.2
    spend_basis       = "FORECASTED_SPEND"
  }

  dynamic "all_updates_rule" {
    for_each = length(var.budget_channels) == 0 ? [] : [var.budget_channels]
    content {
      monitoring_notification_channels = all_updates_rule.value
    }
  }
}
