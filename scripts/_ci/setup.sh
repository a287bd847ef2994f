#!/usr/bin/env bash
# Installs the pinned tools into this clone, once: `setup.sh python` into .venv, `setup.sh cluster`
# what a cluster needs besides, `setup.sh anvil` into node_modules, `setup.sh browser` what tests of
# the page need besides. Done again when a pin, the clone's folder or PYTHON changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# One installation at a time; a lock left behind by a killed one is taken over.
lock() {
  local holder told=
  until mkdir .setup.lock 2>/dev/null; do
    holder=$(cat .setup.lock/pid 2>/dev/null || true)
    [ "$holder" != $$ ] || return 0
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
      rm -rf .setup.lock
      continue
    fi
    [ -n "$told" ] || say "another make is installing here, waiting for it (process $holder)"
    told=yes
    sleep 1
  done
  trap 'rm -rf .setup.lock' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  echo $$ >.setup.lock/pid
}

# Prints the version of an interpreter that runs, is 3.11 or 3.12 and can make a venv with pip.
# A name on PATH is not enough: version managers leave shims that only fail.
usable() {
  "$1" -c 'import ensurepip, sys, venv
assert (3, 11) <= sys.version_info[:2] <= (3, 12)
print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is no Python 3.11 or 3.12 with venv;" \
      "give another, for example: make setup PYTHON=python3.11"
    return
  fi
  for candidate in python3.12 python3.11 python3 python; do
    if usable "$candidate" >/dev/null; then
      PYTHON=$candidate
      return
    fi
  done
  fail "no Python 3.11 or 3.12 with venv found; install one (Debian: python3.12-venv, macOS:" \
    "brew install python@3.12) or name it: make setup PYTHON=/path/to/python3.12"
}

python_stamp() {
  printf '%s\n' "$PWD"
  cat requirements-build.txt requirements.txt | cksum
}

python_ready() {
  [ -f .venv/installed ] && [ "$(cat .venv/installed)" = "$(python_stamp)" ] || return 1
  local installed wanted
  installed=$(usable .venv/bin/python) || return 1
  [ -z "${PYTHON:-}" ] || { wanted=$(usable "$PYTHON") && [ "$wanted" = "$installed" ]; }
}

pip_install() {
  local log=.venv/install.log total
  total=$(grep -c '^[a-z].*==' "$1")
  # Settings of the machine that would send packages elsewhere; indexes and proxies stay.
  # No build isolation: what builds a source package is pinned too.
  env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PYTHONPATH -u PYTHONHOME PIP_USER=0 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONUNBUFFERED=1 \
    .venv/bin/python -m pip install --require-hashes --no-build-isolation --use-pep517 \
    --no-deps -r "$1" 2>&1 | tee "$log" | awk -v total="$total" '
      /^(Collecting|Processing|Requirement already satisfied:) / {
        if (++n % 20 == 0) { print "setup:   " n " of " total " packages"; fflush() }
      }
      /^Installing collected packages/ && total > 9 { print "setup:   unpacking"; fflush() }
    ' || {
    tail -n 8 "$log" >&2
    fail "pip could not install $1 (all of it: $log); check the network and run make again"
  }
}

setup_python() {
  python_ready && return
  lock
  python_ready && return
  find_python
  local started=$SECONDS version
  version=$(usable "$PYTHON")
  say "Python $version and the pinned packages into .venv (one to two minutes)"
  if [ "$(usable .venv/bin/python || true)" != "$version" ] || [ "$(head -n 1 .venv/installed \
    2>/dev/null)" != "$PWD" ]; then
    rm -rf .venv
    env -u PYTHONPATH -u PYTHONHOME "$PYTHON" -m venv .venv ||
      fail "$PYTHON cannot make a virtual environment; install its venv package"
  fi
  rm -f .venv/installed
  pip_install requirements-build.txt
  pip_install requirements.txt
  python_stamp >.venv/installed
  say "Python is ready ($((SECONDS - started)) s)"
}

setup_cluster() {
  setup_python
  local stamp=.venv/cluster
  [ -f $stamp ] && [ "$(cat $stamp)" = "$(cksum <requirements-cluster.txt)" ] && return
  lock
  [ -f $stamp ] && [ "$(cat $stamp)" = "$(cksum <requirements-cluster.txt)" ] && return
  say "Dask into .venv"
  pip_install requirements-cluster.txt
  cksum <requirements-cluster.txt >$stamp
}

anvil_stamp() { cat package.json package-lock.json | cksum; }

anvil_runs() { scripts/_ci/run.sh sh -c 'anvil --version' >/dev/null 2>&1; }

# Fills node_modules anew; `npm_install --omit=dev` leaves out what only tests of the page need.
npm_install() {
  npm --version >/dev/null 2>&1 ||
    fail "npm does not run; install Node.js 20 or later, it brings the anvil node for the tests"
  # No install scripts: anvil's own only checks what is checked below.
  npm ci "$@" --ignore-scripts --no-audit --no-fund --no-progress --loglevel=error \
    >/dev/null || fail "npm could not install anvil; check the network and run make again"
  # npm skips an optional package whose hash is wrong or whose platform is unknown, and says nothing.
  compgen -G 'node_modules/@foundry-rs/anvil-*/bin/anvil' >/dev/null && anvil_runs ||
    fail "anvil does not run after npm ci; is this platform Linux or macOS on x64 or arm64?"
  anvil_stamp >node_modules/.installed
}

setup_anvil() {
  local stamp=node_modules/.installed
  [ -f $stamp ] && [ "$(cat $stamp)" = "$(anvil_stamp)" ] && return
  lock
  [ -f $stamp ] && [ "$(cat $stamp)" = "$(anvil_stamp)" ] && return
  say "anvil into node_modules"
  npm_install --omit=dev
  say "anvil is ready"
}

browser_stamp() { cat package.json package-lock.json requirements-browser.txt | cksum; }

setup_browser() {
  setup_python
  local stamp=node_modules/.browser chromium=node_modules/.chromium
  browser_ready() {
    [ -f $stamp ] && [ "$(cat $stamp)" = "$(browser_stamp)" ] &&
      .venv/bin/python -c 'import playwright' 2>/dev/null
  }
  browser_ready && return
  lock
  browser_ready && return
  say "Chromium into node_modules"
  pip_install requirements-browser.txt
  npm_install
  node scripts/_ci/unpack_chromium.mjs || fail "Chromium could not be unpacked; see above"
  LD_LIBRARY_PATH="$PWD/$chromium/lib" $chromium/chromium --version >/dev/null 2>&1 ||
    say "the bundled Chromium does not run on this platform: the tests of the page use \$CHROMIUM" \
      "or one on PATH"
  browser_stamp >$stamp
  say "Chromium is ready"
}

case "${1:-}" in
  python) setup_python ;;
  cluster) setup_cluster ;;
  anvil) setup_anvil ;;
  browser) setup_browser ;;
  *) fail "usage: setup.sh python|cluster|anvil|browser" ;;
esac
