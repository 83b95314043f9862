//go:build tools

// Package hclfmt pins the version of HCL, Terraform's language, whose formatter install.sh builds.
package hclfmt

import _ "github.com/hashicorp/hcl/v2/cmd/hclfmt"
