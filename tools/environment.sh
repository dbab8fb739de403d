# Sourced by the other scripts here, with `root` set: makes .venv from a lock file and installs this checkout into it.
# make_environment LOCK: uv if it is present, else venv and pip. Quick when the lock has not changed.

fail() {
  printf 'error: %s\nwhy: %s\nhint: %s\n' "$1" "$2" "$3" >&2
  exit 2
}

find_python() {
  for python in ${ELKKIT_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}

make_environment() {
  lock="$root/$1"
  venv="$root/.venv"
  stamp="$venv/.made-from-$(cksum "$root/requirements.lock" "$lock" "$root/pyproject.toml" | cksum | cut -d ' ' -f 1)"
  [ -e "$stamp" ] && return
  if command -v flock >/dev/null 2>&1; then # two scripts at once must not build one folder
    exec 9>"$root/.venv.lock"
    flock 9
    [ -e "$stamp" ] && { exec 9>&-; return; }
  fi
  echo "making the environment in .venv (once; takes about half a minute) …" >&2
  if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python '>=3.11,<3.15' "$venv" >&2
    uv pip install --quiet --python "$venv/bin/python" --require-hashes -r "$lock" >&2
    uv pip install --quiet --python "$venv/bin/python" --no-build-isolation --no-deps -e "$root" >&2
  else
    python=$(find_python) || fail "no Python for elkkit" "it needs Python 3.11 to 3.14" \
      "install one, or uv, or name one: ELKKIT_PYTHON=/path/to/python3 $0"
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
      "$python" -m venv --clear "$venv" >&2 || fail "cannot make $venv" "$python -m venv failed, see above" \
        "on Debian and Ubuntu: apt-get install python3-venv"
    fi
    set -- --quiet --disable-pip-version-check
    "$venv/bin/python" -m pip install "$@" --require-hashes -r "$lock" >&2
    "$venv/bin/python" -m pip install "$@" --no-build-isolation --no-deps -e "$root" >&2
  fi || fail "cannot install what elkkit needs" "the installer failed, see above" "run $0 again; it goes on where it stopped"
  touch "$stamp"
  if command -v flock >/dev/null 2>&1; then exec 9>&-; fi
}
