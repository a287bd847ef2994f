#!/usr/bin/env bash
# Runs a command with this clone's tools before the machine's, and with ape's data in the clone.
#   run.sh COMMAND [ARGUMENT...]
#   run.sh options COMMAND NAME...   runs `python -m perp_fuzz COMMAND --name=$NAME ...` with every
#                                    NAME that is set and not empty in the environment;
#                                    COMMAND may name another module: examples.fee_vault:fuzz
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# ape-foundry starts whatever `anvil` it finds. npm's own link is a Node wrapper (and npm drops it
# on some systems, two packages claiming the name), so the folder of the native binary goes first.
for folder in node_modules/@foundry-rs/anvil-*/bin; do
  [ -d "$folder" ] && PATH="$PWD/$folder:$PATH"
done
export PATH="$PWD/.venv/bin:$PATH"
export APE_DATA_FOLDER="$PWD/.ape"
export VVM_BINARY_PATH="$PWD/.ape/vvm" # ape-vyper looks here for other compilers
mkdir -p "$VVM_BINARY_PATH"
export MPLCONFIGDIR="$PWD/.cache/matplotlib" # matplotlib keeps its list of fonts here
export PYTHONPATH="$PWD"
unset PYTHONHOME
unset PYTHONDONTWRITEBYTECODE # tests start many processes: none compiles the modules anew

if [ "$1" = options ]; then
  command=${2#*:}
  module=perp_fuzz
  [[ $2 != *:* ]] || module=${2%%:*}
  shift 2
  names=("$@")
  set --
  for name in "${names[@]}"; do
    [ -n "${!name:-}" ] || continue
    option=--$(printf %s "$name" | tr '[:upper:]' '[:lower:]')
    case $name in
      UPDATE | ALL | STAGES) set -- "$@" "$option" ;; # flags: any value sets them
      *) set -- "$@" "$option=${!name}" ;;
    esac
  done
  # The values have arrived; a variable left over must not reach the program a second time.
  unset "${names[@]}"
  set -- python -m "$module" "$command" "$@"
fi
exec "$@"
