# Columns that name a customer.
resource "google_data_catalog_taxonomy" "privacy" {
  project                = var.project
  region                 = lower(var.location)
  display_name           = "distilwatch ${var.dataset}"
  description            = "Who may read what names a customer."
  activated_policy_types = ["FINE_GRAINED_ACCESS_CONTROL"]
}

locals {
  # What those who may not read identifiers see instead: a hash, which is the same for the same
  # account, so that it can be counted and joined; of a list nothing, since lists cannot be hashed.
  masks = { texts = "SHA256", lists = "DEFAULT_MASKING_VALUE" }
  in_clear = merge([
    for tag in keys(local.masks) : merge(
      { for member in var.identifier_readers : "${tag} ${member}" => { tag = tag, member = member } },
      { for name, member in local.service_members : "${tag} ${name}" => { tag = tag, member = member } }
    )
  ]...)
  masked = {
    for pair in setproduct(
      keys(local.masks), setsubtract(setunion(var.analysts, var.table_readers), var.identifier_readers)
    ) : "${pair[0]} ${pair[1]}" => { tag = pair[0], member = pair[1] }
  }
}

resource "google_data_catalog_policy_tag" "identifiers" {
  for_each = local.masks

  taxonomy     = google_data_catalog_taxonomy.privacy.id
  display_name = "identifiers ${each.key}"
  description  = "Account ids and payment pseudonyms."
}

resource "google_data_catalog_policy_tag_iam_member" "in_clear" {
  for_each = local.in_clear

  policy_tag = google_data_catalog_policy_tag.identifiers[each.value.tag].name
  role       = "roles/datacatalog.categoryFineGrainedReader"
  member     = each.value.member
}

resource "google_bigquery_datapolicy_data_policy" "masked" {
  for_each = local.masks

  project          = var.project
  location         = lower(var.location)
  data_policy_id   = "${var.dataset}_identifiers_${each.key}"
  policy_tag       = google_data_catalog_policy_tag.identifiers[each.key].name
  data_policy_type = "DATA_MASKING_POLICY"

  data_masking_policy {
    predefined_expression = each.value
  }
}

resource "google_bigquery_datapolicy_data_policy_iam_member" "masked" {
  for_each = local.masked

  project        = var.project
  location       = google_bigquery_datapolicy_data_policy.masked[each.value.tag].location
  data_policy_id = google_bigquery_datapolicy_data_policy.masked[each.value.tag].data_policy_id
  role           = "roles/bigquerydatapolicy.maskedReader"
  member         = each.value.member
}

resource "google_bigquery_dataset_iam_member" "analysts" {
  for_each = setunion(var.analysts, var.identifier_readers)

  project    = var.project
  dataset_id = google_bigquery_dataset.views.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}

resource "google_bigquery_dataset_iam_member" "table_readers" {
  for_each = var.table_readers

  project    = var.project
  dataset_id = google_bigquery_dataset.tables.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}

# Rows. A table with a policy shows nothing to those whom none names.
locals {
  limited = toset([for policy in var.row_policies : policy.table])
}

resource "google_bigquery_row_access_policy" "some" {
  for_each = var.row_policies

  project          = var.project
  dataset_id       = google_bigquery_dataset.tables.dataset_id
  table_id         = google_bigquery_table.tables[each.value.table].table_id
  policy_id        = each.key
  filter_predicate = each.value.filter
  grantees         = each.value.members
}

resource "google_bigquery_row_access_policy" "all" {
  for_each = local.limited

  project          = var.project
  dataset_id       = google_bigquery_dataset.tables.dataset_id
  table_id         = google_bigquery_table.tables[each.value].table_id
  policy_id        = "all_rows"
  filter_predicate = "TRUE"
  grantees         = setunion(var.identifier_readers, values(local.service_members))
}
