#!/usr/bin/env bash
# Installs what the tests on the real thing need, under .local:
#   .local/kafka/libs   the jars of a Kafka broker (versions in kafka/pom.xml)
#   .local/flink/libs   the jars of a Flink cluster and of Beam's job server (flink/pom.xml)
#   .local/apicurio      a schema registry (version below)
#   .local/bin/prism    Beam's local streaming runner (version in prism/go.mod)
#   .local/bin/hclfmt   what checks the format of infra/terraform (version in hclfmt/go.mod)
#   .local/bigquery     an emulator of BigQuery (versions in bigquery/requirements.txt)
# and, from the distribution, Chromium, for tests of pages in a real browser.
# Run it again at any time: what is there in the right version is left alone.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
target="${DISTILWATCH_LOCAL:-$(cd "$here/../.." && pwd)/.local}"
oldest_go=21  # of 1.x: from here on `go` fetches by itself the newer Go that go.mod asks for

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $1"
  shift
  for line in "$@"; do say "  $line"; done
  exit 1
}

# Prints one line every ten seconds while a quiet command works; on failure shows what it said.
with_progress() {
  local label="$1" log status=0 started=$SECONDS
  shift
  log="$(mktemp)"
  say "$label …"
  "$@" >"$log" 2>&1 &
  local job=$!
  while kill -0 "$job" 2>/dev/null; do
    sleep 0.2
    if (((SECONDS - started) % 10 == 0 && SECONDS != ${last:-$started})); then
      last=$SECONDS
      say "  … $((SECONDS - started)) s"
    fi
  done
  wait "$job" || status=$?
  if ((status != 0)); then tail -n 40 "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

as_root() { if (($(id -u) == 0)); then "$@"; else sudo -n "$@"; fi; }

can_apt() {
  command -v apt-get >/dev/null && { (($(id -u) == 0)) || sudo -n true 2>/dev/null; }
}

apt_install() {
  with_progress "Refreshing the list of Debian packages" as_root apt-get update -q &&
    with_progress "Installing $*" \
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
}

need() { # need COMMAND PACKAGE PURPOSE
  command -v "$1" >/dev/null && return
  if can_apt; then apt_install "$2" || true; fi
  command -v "$1" >/dev/null || die "\`$1\` is missing; it is needed for $3." \
    "Debian, Ubuntu: sudo apt install $2" "macOS: brew install ${4:-$2}"
}

java_package() { # the newest headless Java run time that this Debian has, 17 at least
  local version
  for version in 25 21 17; do
    if apt-cache show "openjdk-$version-jre-headless" >/dev/null 2>&1; then
      echo "openjdk-$version-jre-headless"
      return
    fi
  done
  echo openjdk-17-jre-headless
}

java_version() { # 17 for `openjdk version "17.0.15"`, 0 when there is none
  java -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p' | grep . || echo 0
}

install_jars() { # install_jars NAME TITLE: what NAME/pom.xml lists, into NAME/libs
  local name="$1" title="$2" libs="$target/$1/libs" stamp java
  stamp="$target/$name/installed-$(cksum <"$here/$name/pom.xml" | tr ' ' -)"
  if [[ -e $stamp ]]; then
    say "$title: is installed in $libs"
    return
  fi
  java="$(java_version)"
  ((java >= 17)) || die "Java 17 or newer is needed; Java $java is installed." \
    "Debian, Ubuntu: sudo apt install openjdk-17-jre-headless" "macOS: brew install openjdk"
  need mvn maven "fetching the jars of $title"
  rm -rf "${target:?}/$name"
  mkdir -p "$libs"
  with_progress "$title: fetching its jars with Maven" \
    mvn -q -B -f "$here/$name/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$libs" ||
    die "Maven could not fetch the jars of $title (its words are above)." \
      "Check the network, or point ~/.m2/settings.xml at a mirror, then run this again."
  touch "$stamp"
  say "$title: installed in $libs"
}

install_apicurio() { # a real schema registry, for the tests of Avro
  local home="$target/apicurio" version=2.6.13.Final stamp
  stamp="$home/installed-$version"
  if [[ -e $stamp ]]; then
    say "Apicurio: is installed in $home"
    return
  fi
  need mvn maven "fetching Apicurio, the schema registry of the tests"
  rm -rf "$home"
  mkdir -p "$home"
  fetch_apicurio() {
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
      "-Dartifact=io.apicurio:apicurio-registry-app:$version:tar.gz:all" \
      "-DoutputDirectory=$home" -Dmdep.useBaseVersion=true &&
      tar xzf "$home"/*.tar.gz -C "$home" && rm "$home"/*.tar.gz
  }
  with_progress "Apicurio: fetching it with Maven (140 MB)" fetch_apicurio ||
    die "Maven could not fetch Apicurio (its words are above)." \
      "Check the network, or point ~/.m2/settings.xml at a mirror, then run this again."
  touch "$stamp"
  say "Apicurio: installed in $home"
}

go_minor() { # 26 for go1.26.1, 0 when there is none
  go env GOVERSION 2>/dev/null | sed -nE 's/^go1\.([0-9]+).*/\1/p' | grep . || echo 0
}

install_prism() {
  local binary="$target/bin/prism" stamp
  stamp="$target/bin/.prism-$(cksum <"$here/prism/go.mod" | tr ' ' -)"
  if [[ -x $binary && -e $stamp ]]; then
    say "Prism: is installed as $binary"
    return
  fi
  # Go's own installer puts it where not every PATH looks.
  if (($(go_minor) < oldest_go)) && [[ -x /usr/local/go/bin/go ]]; then
    PATH="/usr/local/go/bin:$PATH"
  fi
  need go golang-go "building Prism, Beam's local streaming runner" go
  (($(go_minor) >= oldest_go)) || die \
    "Go 1.$oldest_go or newer is needed to build Prism; $(go env GOVERSION 2>/dev/null || echo none) is installed." \
    "Install it from https://go.dev/dl and put it first on PATH, then run this again."
  mkdir -p "$target/bin"
  rm -f "$target"/bin/.prism-*
  build_prism() {
    cd "$here/prism" && go build -mod=readonly -trimpath -ldflags "-s -w" -o "$binary" \
      github.com/apache/beam/sdks/v2/go/cmd/prism
  }
  with_progress "Prism: building it with Go; this takes some minutes the first time" build_prism ||
    die "Go could not build Prism (its words are above)." \
      "If it speaks of a toolchain: go.mod needs $(sed -n 's/^go /Go /p' "$here/prism/go.mod");" \
      "install that, or unset GOTOOLCHAIN=local. If it speaks of a proxy: check the network."
  touch "$stamp"
  say "Prism: installed as $binary"
}

# An environment of its own: what the emulator needs must not decide the versions that we run with.
install_bigquery() {
  local home="$target/bigquery" python stamp
  stamp="$home/installed-$(cksum <"$here/bigquery/requirements.txt" | tr ' ' -)"
  if [[ -e $stamp ]]; then
    say "BigQuery emulator: is installed in $home"
    return
  fi
  python="${PYTHON:-python3.11}"
  "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null ||
    die "Python 3.11 or 3.12 with venv is needed for the BigQuery emulator; \`$python\` is missing or another." \
      "Debian, Ubuntu: sudo apt install python3.11 python3.11-venv" \
      "Elsewhere: name it with PYTHON=/path/to/python3.11"
  rm -rf "$home"
  mkdir -p "$home"
  "$python" -m venv "$home/venv"
  with_progress "BigQuery emulator: installing it with pip" \
    "$home/venv/bin/python" -m pip install --require-hashes -r "$here/bigquery/requirements.txt" ||
    die "pip could not install the BigQuery emulator (its words are above)." \
      "Check the network, or point pip at a mirror (PIP_INDEX_URL), then run this again."
  # DuckDB looks for its extensions in HOME, and would otherwise fetch them at each start.
  "$home/venv/bin/python" - "$home/home" <<'EOF'
import shutil, sys
from importlib import import_module
from pathlib import Path
import duckdb

platform = duckdb.sql("PRAGMA platform").fetchone()[0]
for name in ("spatial", "avro"):
    package = Path(import_module(f"duckdb_extension_{name}").__file__).parent
    where = Path(sys.argv[1], ".duckdb", "extensions", f"v{duckdb.__version__}", platform)
    where.mkdir(parents=True, exist_ok=True)
    shutil.copy(package / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension", where)
EOF
  touch "$stamp"
  say "BigQuery emulator: installed in $home"
}

install_hclfmt() {
  local binary="$target/bin/hclfmt" stamp
  stamp="$target/bin/.hclfmt-$(cksum <"$here/hclfmt/go.mod" | tr ' ' -)"
  if [[ -x $binary && -e $stamp ]]; then
    say "hclfmt: is installed as $binary"
    return
  fi
  if (($(go_minor) < oldest_go)) && [[ -x /usr/local/go/bin/go ]]; then
    PATH="/usr/local/go/bin:$PATH"
  fi
  mkdir -p "$target/bin"
  rm -f "$target"/bin/.hclfmt-*
  build_hclfmt() {
    cd "$here/hclfmt" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "-s -w" -o "$binary" \
      github.com/hashicorp/hcl/v2/cmd/hclfmt
  }
  # Only the check of infra/terraform's format needs it; its test says so when it is missing.
  with_progress "hclfmt: building it with Go" build_hclfmt || {
    say "hclfmt: Go could not build it (its words are above); the format of infra/terraform is not checked"
    return
  }
  touch "$stamp"
  say "hclfmt: installed as $binary"
}

if ! command -v java >/dev/null; then # looking up the package takes a second
  need java "$(command -v apt-cache >/dev/null && java_package || echo openjdk-17-jre-headless)" \
    "running the Kafka broker and Flink" openjdk
fi
install_jars kafka Kafka
install_jars flink Flink
install_apicurio
install_prism
install_bigquery
install_hclfmt
need chromium chromium "testing pages in a real browser, and printing cases as PDF"
