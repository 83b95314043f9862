//go:build tools

// Package tofu pins the version of OpenTofu that install.sh builds.
package tofu

import _ "github.com/opentofu/opentofu/cmd/tofu"
