# Sourced by the scripts that check: all steps run, so that one run shows all that is wrong.
# shellcheck shell=bash

failed=()

# step NAME COMMAND …
step() {
  local -r name="$1"
  shift
  printf '\n── %s\n' "$name"
  "$@" || failed+=("$name")
}

# Says which steps have failed, if any; the last command of a script, whose result it is.
no_step_failed() {
  if ((${#failed[@]} > 0)); then
    printf '\nFailed: %s\n' "${failed[@]}" >&2
    return 1
  fi
}
