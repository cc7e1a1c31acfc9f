#!/usr/bin/env bash
# A gate in CI: a clean folder passes, a contaminated one fails, with a baseline it passes, one new duplicate fails again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PYTHONPATH=$here # encoder.py lies there

audit() { # audit FOLDER [FLAGS...]
    printf '\n$ selfclean-hooks audit %s\n' "$*"
    selfclean-hooks audit "$@" --output audit --backbone encoder:pixels --no-progress
}
expect() { # expect STATUS COMMAND...
    local status=0
    "${@:2}" || status=$?
    [ "$status" = "$1" ] || { echo "expected exit status $1, got $status"; exit 1; }
    echo "(exit status $status)"
}

python "$here/make_data.py" clean clean
python "$here/make_data.py" contaminated photos
limits=(--max-near-duplicates 1% --max-off-topic 1% --max-label-errors 1%)

expect 0 audit clean "${limits[@]}"
expect 1 audit photos "${limits[@]}"

# Somebody looks at audit/report.html and accepts what was found: from now on only new findings count.
expect 0 audit photos --baseline baseline.jsonl --update-baseline
expect 0 audit photos --baseline baseline.jsonl

python "$here/make_data.py" copy photos
expect 1 audit photos --baseline baseline.jsonl

# The saved audit, for other programs: no model is loaded.
for format in json junit sarif markdown; do
    expect 1 selfclean-hooks gate audit --baseline baseline.jsonl --format "$format" >"result.$format"
done
tail -n 3 result.markdown
