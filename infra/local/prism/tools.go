//go:build tools

// Package prism pins the version of Beam's local streaming runner that install.sh builds.
package prism

import _ "github.com/apache/beam/sdks/v2/go/cmd/prism"
