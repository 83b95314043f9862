# Workers have private addresses only. They reach Google's APIs by private access, and brokers by
# what connects this network to theirs: a peering, a VPN or an interconnect, which is not made here.
resource "google_compute_network" "workers" {
  count = var.subnetwork == null ? 1 : 0

  project                 = var.project
  name                    = "${var.name}-workers"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "workers" {
  count = var.subnetwork == null ? 1 : 0

  project                  = var.project
  region                   = var.region
  name                     = "${var.name}-workers"
  network                  = google_compute_network.workers[0].id
  ip_cidr_range            = var.subnet_range
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
  }
}

# Workers of batch jobs shuffle over 12346, those of streaming jobs over 12345.
resource "google_compute_firewall" "between_workers" {
  count = var.subnetwork == null ? 1 : 0

  project                 = var.project
  name                    = "${var.name}-between-workers"
  network                 = google_compute_network.workers[0].id
  direction               = "INGRESS"
  source_service_accounts = [google_service_account.worker.email]
  target_service_accounts = [google_service_account.worker.email]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

resource "google_compute_firewall" "to_workers" {
  count = var.subnetwork == null ? 1 : 0

  project                 = var.project
  name                    = "${var.name}-to-workers"
  network                 = google_compute_network.workers[0].id
  direction               = "EGRESS"
  destination_ranges      = [var.subnet_range]
  target_service_accounts = [google_service_account.worker.email]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

# 199.36.153.8/30 is private.googleapis.com.
resource "google_compute_firewall" "to_google" {
  count = var.subnetwork == null ? 1 : 0

  project                 = var.project
  name                    = "${var.name}-to-google"
  network                 = google_compute_network.workers[0].id
  direction               = "EGRESS"
  destination_ranges      = ["199.36.153.8/30"]
  target_service_accounts = [google_service_account.worker.email]

  allow {
    protocol = "tcp"
    ports    = ["443"]
  }
}

resource "google_compute_firewall" "to_brokers" {
  count = var.subnetwork == null && length(var.broker_ranges) > 0 ? 1 : 0

  project                 = var.project
  name                    = "${var.name}-to-brokers"
  network                 = google_compute_network.workers[0].id
  direction               = "EGRESS"
  destination_ranges      = var.broker_ranges
  target_service_accounts = [google_service_account.worker.email]

  allow {
    protocol = "tcp"
    ports    = var.broker_ports
  }
}

resource "google_compute_firewall" "nowhere_else" {
  count = var.subnetwork == null ? 1 : 0

  project                 = var.project
  name                    = "${var.name}-nowhere-else"
  network                 = google_compute_network.workers[0].id
  direction               = "EGRESS"
  priority                = 65000
  destination_ranges      = ["0.0.0.0/0"]
  target_service_accounts = [google_service_account.worker.email]

  deny {
    protocol = "all"
  }
}

# Names of Google's APIs and registries lead to private.googleapis.com, which the rule above lets by.
locals {
  private_domains = var.subnetwork == null ? toset(["googleapis.com", "pkg.dev"]) : toset([])
}

resource "google_dns_managed_zone" "google" {
  for_each = local.private_domains

  project    = var.project
  name       = "${var.name}-${replace(each.key, ".", "-")}"
  dns_name   = "${each.key}."
  visibility = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.workers[0].id
    }
  }
}

resource "google_dns_record_set" "google" {
  for_each = local.private_domains

  project      = var.project
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = "${each.key}."
  type         = "A"
  ttl          = 300
  rrdatas      = ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]
}

resource "google_dns_record_set" "all_of_google" {
  for_each = local.private_domains

  project      = var.project
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = "*.${each.key}."
  type         = "CNAME"
  ttl          = 300
  rrdatas      = ["${each.key}."]
}
