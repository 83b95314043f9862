#!/usr/bin/env bash
# Installs what the tests on the real thing need, under .local and nowhere else:
#   .local/kafka/libs   the jars of a Kafka broker (versions in kafka/pom.xml)
#   .local/apicurio      a schema registry (version below)
#   .local/bin/prism    Beam's local streaming runner (version in prism/go.mod)
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

install_kafka() {
  local libs="$target/kafka/libs" stamp
  stamp="$target/kafka/installed-$(cksum <"$here/kafka/pom.xml" | tr ' ' -)"
  if [[ -e $stamp ]]; then
    say "Kafka: is installed in $libs"
    return
  fi
  local java
  java="$(java_version)"
  ((java >= 17)) || die "Java 17 or newer is needed; Java $java is installed." \
    "Debian, Ubuntu: sudo apt install openjdk-17-jre-headless" "macOS: brew install openjdk"
  need mvn maven "fetching Kafka's jars"
  rm -rf "$target/kafka"
  mkdir -p "$libs"
  with_progress "Kafka: fetching its jars with Maven" \
    mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$libs" ||
    die "Maven could not fetch Kafka's jars (its words are above)." \
      "Check the network, or point ~/.m2/settings.xml at a mirror, then run this again."
  touch "$stamp"
  say "Kafka: installed in $libs"
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

if ! command -v java >/dev/null; then # looking up the package takes a second
  need java "$(command -v apt-cache >/dev/null && java_package || echo openjdk-17-jre-headless)" \
    "running the Kafka broker" openjdk
fi
install_kafka
install_apicurio
install_prism
