locals {
  views         = jsondecode(file("${local.generated}/views.json"))
  tables_prefix = "${var.project}.${google_bigquery_dataset.tables.dataset_id}"
  views_prefix  = "${var.project}.${google_bigquery_dataset.views.dataset_id}"
  queries = {
    for name, view in local.views : name => templatefile("${local.generated}/views/${name}.bigquery.sql", {
      dataset = local.tables_prefix
      views   = local.views_prefix
    })
  }
  plain     = { for name, view in local.views : name => view if length(view.parameters) == 0 }
  first     = { for name, view in local.plain : name => view if length(view.uses) == 0 }
  second    = { for name, view in local.plain : name => view if length(view.uses) > 0 }
  functions = { for name, view in local.views : name => view if length(view.parameters) > 0 }
}

resource "google_bigquery_dataset" "views" {
  project                    = var.project
  dataset_id                 = var.views_dataset
  location                   = var.location
  description                = "Views for analysts over what distilwatch found: see docs/views.md."
  labels                     = var.labels
  max_time_travel_hours      = var.time_travel_hours
  delete_contents_on_destroy = false

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_table" "first_views" {
  for_each = local.first

  project             = var.project
  dataset_id          = google_bigquery_dataset.views.dataset_id
  table_id            = each.key
  description         = each.value.description
  labels              = var.labels
  deletion_protection = false

  view {
    query          = local.queries[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.tables]
}

# Those that are made from other views.
resource "google_bigquery_table" "second_views" {
  for_each = local.second

  project             = var.project
  dataset_id          = google_bigquery_dataset.views.dataset_id
  table_id            = each.key
  description         = each.value.description
  labels              = var.labels
  deletion_protection = false

  view {
    query          = local.queries[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.first_views]
}

resource "google_bigquery_routine" "functions" {
  for_each = local.functions

  project         = var.project
  dataset_id      = google_bigquery_dataset.views.dataset_id
  routine_id      = each.key
  routine_type    = "TABLE_VALUED_FUNCTION"
  language        = "SQL"
  description     = each.value.description
  definition_body = local.queries[each.key]

  dynamic "arguments" {
    for_each = each.value.parameters
    content {
      name      = arguments.key
      data_type = jsonencode({ typeKind = arguments.value })
    }
  }

  depends_on = [google_bigquery_table.tables]
}

# Views and functions read the tables on behalf of those who may not.
resource "google_bigquery_dataset_access" "views" {
  for_each = local.plain

  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id

  view {
    project_id = var.project
    dataset_id = google_bigquery_dataset.views.dataset_id
    table_id   = each.key
  }

  depends_on = [google_bigquery_table.first_views, google_bigquery_table.second_views]
}

resource "google_bigquery_dataset_access" "functions" {
  for_each = local.functions

  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id

  routine {
    project_id = var.project
    dataset_id = google_bigquery_dataset.views.dataset_id
    routine_id = google_bigquery_routine.functions[each.key].routine_id
  }
}
