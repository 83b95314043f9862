variable "project" {
  description = "Project that holds the datasets and pays for jobs."
  type        = string
}

variable "location" {
  description = "Where the data lie, such as EU or us-central1; cannot be changed later. Policy tags and scheduled queries are made there, too."
  type        = string
}

variable "dataset" {
  description = "Name of the dataset of the tables."
  type        = string
  default     = "distilwatch"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]{1,1024}$", var.dataset))
    error_message = "Use letters, digits and underscores."
  }
}

variable "views_dataset" {
  description = "Name of the dataset of the views, which analysts read instead of the tables."
  type        = string
  default     = "distilwatch_views"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]{1,1024}$", var.views_dataset))
    error_message = "Use letters, digits and underscores."
  }
}

variable "labels" {
  description = "Labels of datasets, tables and views, such as { team = \"abuse\" }."
  type        = map(string)
  default     = {}
}

variable "expire_days" {
  description = "Days after which a partition is dropped, by table; tables that are not named, and those without partitions, are kept for ever."
  type        = map(number)
  default = {
    session_scores = 400
    dead_letters   = 90
  }
}

variable "time_travel_hours" {
  description = "How far back tables can be read as they were, 48 to 168 hours. What was forgotten or expired stays readable by administrators for so long."
  type        = number
  default     = 48

  validation {
    condition     = var.time_travel_hours >= 48 && var.time_travel_hours <= 168 && var.time_travel_hours % 24 == 0
    error_message = "Choose 48 to 168 hours, in whole days."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete tables that hold rows."
  type        = bool
  default     = true
}

variable "kms_key" {
  description = "Cloud KMS key that encrypts the datasets, projects/…/cryptoKeys/…; null for Google's own."
  type        = string
  default     = null
}

variable "analysts" {
  description = "Who may read the views, with identifiers masked, as IAM members such as group:analysts@example.com."
  type        = set(string)
  default     = []
}

variable "identifier_readers" {
  description = "Who of the analysts may read account ids and payment pseudonyms in clear, as IAM members."
  type        = set(string)
  default     = []
}

variable "table_readers" {
  description = "Who may read the tables themselves, as IAM members; identifiers stay masked for those that are not among identifier_readers, too."
  type        = set(string)
  default     = []
}

variable "row_policies" {
  description = "Who sees which rows, by name: table, SQL condition over its columns, IAM members. Once a table has one, everybody else sees none of its rows, save the service accounts and identifier_readers."
  type = map(object({
    table   = string
    filter  = string
    members = set(string)
  }))
  default = {}
}

variable "daily_at" {
  description = "When the scheduled queries run, UTC, as HH:MM."
  type        = string
  default     = "06:00"

  validation {
    condition     = can(regex("^([01][0-9]|2[0-3]):[0-5][0-9]$", var.daily_at))
    error_message = "Write it like 06:00."
  }
}

variable "keep_revisions_days" {
  description = "Days after which revisions that a newer one replaced are deleted; 0 keeps all."
  type        = number
  default     = 30
}

variable "billing_account" {
  description = "Billing account of the budget, such as 012345-6789AB-CDEF01; null for no budget."
  type        = string
  default     = null
}

variable "monthly_budget_usd" {
  description = "What BigQuery in this project may cost a month before billing administrators are told, in US dollars."
  type        = number
  default     = 500
}

variable "budget_services" {
  description = "Ids of the billed services that the budget counts, as the list of SKUs has them; by default BigQuery."
  type        = set(string)
  default     = ["24E6-581D-38E5"]
}

variable "budget_channels" {
  description = "Monitoring notification channels that are told of the budget, too, as projects/…/notificationChannels/…; at most five."
  type        = list(string)
  default     = []
}
