# Sourced by the scripts: how they speak to the person who started them, and how they set up.
# shellcheck shell=bash

# With its bytecode at hand a Home Assistant starts in half the time, and so does each worker.
unset PYTHONDONTWRITEBYTECODE

say() {
  printf '%s\n' "$*" >&2
}

# fail WHAT [WHAT TO DO ...]
fail() {
  printf '\nError: %s\n' "$1" >&2
  shift
  if (($# > 0)); then
    printf '  %s\n' "$@" >&2
  fi
  exit 1
}

# pinned_release ROOT: prints the release of Home Assistant that pyproject.toml asks for.
pinned_release() {
  sed -nE 's/^ *"homeassistant==(.+)",$/\1/p' "$1/pyproject.toml"
}

# environment_of ROOT RELEASE: prints where the environment with a release is.
environment_of() {
  if [[ "$2" == "$(pinned_release "$1")" ]]; then
    printf '%s\n' "$1/.venv"
  else
    printf '%s\n' "$1/.cache/homeassistant-$2"
  fi
}

# set_up ROOT [OPTION …]: runs scripts/setup in a process group of its own, so that stopping this
# script while packages are being fetched stops the fetching too.
set_up() {
  local setup
  set -m
  "$1/scripts/setup" "${@:2}" &
  setup=$!
  set +m
  # shellcheck disable=SC2064 # the process of now is meant
  trap "kill -TERM -- -$setup 2>/dev/null; exit 130" INT TERM HUP
  wait "$setup" || exit 1
  trap - INT TERM HUP
}
