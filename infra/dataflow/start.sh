#!/bin/sh
# Dataflow starts the same image twice: workers with endpoints of their runner, the launcher without.
set -eu
for argument in "$@"; do
  case "$argument" in
    --control_endpoint* | --provision_endpoint* | --id=*) exec /opt/apache/beam/boot "$@" ;;
  esac
done
exec /opt/google/dataflow/python_template_launcher "$@"
