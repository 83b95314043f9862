# The tables and their columns are defined once, in schemas/; `make generate` writes the files that
# are read here.
locals {
  generated = "${path.module}/../../../schemas/generated"
  tables    = jsondecode(file("${local.generated}/tables.json"))
  columns = {
    for name, table in local.tables : name => jsondecode(file("${local.generated}/${name}.bigquery.json"))
  }
  # Columns that name customers carry a policy tag; nobody reads them without being asked for. Lists
  # have one of their own, because only texts can be hashed.
  schemas = {
    for name, table in local.tables : name => jsonencode([
      for column in local.columns[name] : merge(
        column,
        contains(table.identifiers, column.name)
        ? { policyTags = { names = [google_data_catalog_policy_tag.identifiers[column.mode == "REPEATED" ? "lists" : "texts"].name] } }
        : {}
      )
    ])
  }
}

resource "google_bigquery_dataset" "tables" {
  project                    = var.project
  dataset_id                 = var.dataset
  location                   = var.location
  description                = "What distilwatch found, and how: see docs/contracts.md."
  labels                     = var.labels
  max_time_travel_hours      = var.time_travel_hours
  delete_contents_on_destroy = false

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }

  # Accesses of authorised views are resources of their own.
  lifecycle {
    ignore_changes = [access]
  }
}

resource "google_bigquery_table" "tables" {
  for_each = local.tables

  project             = var.project
  dataset_id          = google_bigquery_dataset.tables.dataset_id
  table_id            = each.key
  description         = each.value.description
  schema              = local.schemas[each.key]
  clustering          = length(each.value.clustering) == 0 ? null : each.value.clustering
  labels              = merge(var.labels, { contract_version = "1" })
  deletion_protection = var.deletion_protection

  dynamic "time_partitioning" {
    for_each = each.value.partition == "" ? [] : [each.value.partition]
    content {
      type          = "DAY"
      field         = time_partitioning.value
      expiration_ms = contains(keys(var.expire_days), each.key) ? var.expire_days[each.key] * 86400000 : null
    }
  }

  table_constraints {
    primary_key {
      columns = each.value.key
    }
  }
}
