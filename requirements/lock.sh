#!/usr/bin/env bash
# Writes the hashed locks for Python 3.11-3.13 (needs uv). No registry's address is written into them.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 "$@" pyproject.toml
}
# The widest set first: the core then takes the same versions.
compile --extra build --extra train --extra astro --extra frames --extra plots --extra oidc --extra postgres --extra limits --extra sky --extra dev -o requirements/test.lock
compile --extra build -c requirements/test.lock -o requirements/core.lock
compile --extra build --extra frames --extra plots -c requirements/test.lock -o requirements/frames.lock
compile --extra build --extra gpu -c requirements/test.lock -o requirements/gpu.lock
