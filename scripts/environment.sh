# Sourced by scripts/demo and scripts/test: a virtual environment beside this checkout.
# Made once, renewed when pyproject.toml changes; PYTHON names another interpreter than python3.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment="$root/.venv"
# Tests start more than a hundred Pythons: without compiled files each would compile the package again.
unset PYTHONDONTWRITEBYTECODE
python=${PYTHON:-python3}

prepare_environment() {  # $1: extra to install with the package, e.g. "[dev]"
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "$python is $("$python" --version 2>&1), expected Python 3.10 or newer; set PYTHON to one" >&2
        exit 1
    fi
    local stamp="$environment/.installed$1"
    if [ -f "$stamp" ] && cmp -s "$stamp" "$root/pyproject.toml"; then
        return
    fi
    if ! "$python" -m venv "$environment"; then
        echo "python3 cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
    echo "installing into $environment (once) ..."
    # Python compiles what is imported, when it is; all 13,000 files would take pip most of a minute.
    "$environment/bin/python" -m pip install --no-compile --quiet --disable-pip-version-check --editable "$root$1"
    cp "$root/pyproject.toml" "$stamp"
}
