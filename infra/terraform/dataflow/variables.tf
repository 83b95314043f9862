variable "project" {
  description = "Project that the job runs in; its APIs dataflow, compute, dns, iam, secretmanager and artifactregistry are on."
  type        = string
}

variable "region" {
  description = "Region of workers, network and bucket, such as europe-west1; near the broker, because workers read from there."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "Write it like europe-west1."
  }
}

variable "name" {
  description = "Begins the names of everything that is made here: small letters, digits and hyphens."
  type        = string
  default     = "distilwatch"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name))
    error_message = "Use 1 to 20 small letters, digits and hyphens, a letter first."
  }
}

variable "run_id" {
  description = "Name of the run, which stays the same over updates; the job is called after it."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{0,39}$", var.run_id))
    error_message = "Use up to 40 small letters, digits and hyphens."
  }
}

variable "template" {
  description = "The template's specification that `gcloud dataflow flex-template build` has written, gs://bucket/detect.json; null makes all but the job, which comes first, because the template is built into what is made here."
  type        = string
  default     = null

  validation {
    condition     = var.template == null || can(regex("^gs://[^/]+/.+\\.json$", var.template))
    error_message = "Write it like gs://bucket/templates/detect.json."
  }
}

variable "image" {
  description = "The image of infra/dataflow/Dockerfile that workers run, the same as the template's, by digest; needed with a template."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Name it by digest, REGION-docker.pkg.dev/PROJECT/REPOSITORY/detect@sha256:…, so that launcher and workers run the same."
  }
}

variable "inputs" {
  description = "Where events are: kafka://host:port/topic?bounded=false, bigquery://project/dataset/table."
  type        = list(string)
}

variable "bundle" {
  description = "Folder of the signed bundle in the bucket, gs://bucket/bundles/NAME; another bundle is another folder."
  type        = string
}

variable "dataset" {
  description = "BigQuery dataset that workers write to, of infra/terraform/bigquery."
  type        = string
  default     = "distilwatch"
}

variable "dataset_project" {
  description = "Project of that dataset; null for the job's own."
  type        = string
  default     = null
}

variable "input_tables" {
  description = "BigQuery tables that events are read from, by any name: project, dataset and table; none where they come from Kafka."
  type        = map(object({ project = string, dataset = string, table = string }))
  default     = {}
}

variable "settings" {
  description = "Path of the settings file, YAML, which is put into the bucket; null for the defaults."
  type        = string
  default     = null
}

variable "secrets" {
  description = "Secrets of workers by environment variable: the name of a secret in Secret Manager and the number of a version. Values are made with gcloud and are never here."
  type        = map(object({ secret = string, version = number }))

  validation {
    condition     = contains(keys(var.secrets), "DISTILWATCH_HMAC_KEY")
    error_message = "Name the key of payment fingerprints, DISTILWATCH_HMAC_KEY."
  }
}

variable "machine_type" {
  description = "Kind of the workers; docs/dataflow.md has the arithmetic."
  type        = string
  default     = "n2-standard-4"
}

variable "workers" {
  description = "Workers to begin with, and at least where Dataflow scales."
  type        = number
  default     = 1
}

variable "max_workers" {
  description = "Workers at most, which bounds what the job costs."
  type        = number
  default     = 4
}

variable "subnet_range" {
  description = "Addresses of the workers' subnetwork, CIDR; one for each worker, twice as many while a job is updated."
  type        = string
  default     = "10.64.0.0/24"
}

variable "subnetwork" {
  description = "An existing subnetwork with private Google access to use instead, projects/…/regions/…/subnetworks/…; null makes a network."
  type        = string
  default     = null
}

variable "broker_ports" {
  description = "Ports of brokers and schema registry that workers may reach."
  type        = list(string)
  default     = ["9092", "9093"]
}

variable "broker_ranges" {
  description = "Addresses of brokers and schema registry, CIDR; workers reach nothing else but Google's APIs."
  type        = list(string)
  default     = []
}

variable "kms_key" {
  description = "Cloud KMS key that encrypts the job's state and the bucket, projects/…/cryptoKeys/…; null for Google's own."
  type        = string
  default     = null
}

variable "deployers" {
  description = "Who may start, update and drain jobs as the workers' account, as IAM members."
  type        = set(string)
  default     = []
}

variable "labels" {
  description = "Labels of the job and the bucket, such as { team = \"abuse\" }."
  type        = map(string)
  default     = {}
}

variable "transform_name_mapping" {
  description = "Old and new labels of steps that were renamed since the running job was started; `python -m pipelines.dataflow.graph` says which."
  type        = map(string)
  default     = {}
}
