# How a judge runs: its `run` sets `here` to its folder, defines `parts`, and ends with
#   source "$here/../frame/run.sh"
# `parts` is called under the emulator and calls `part NAME COMMAND...` for one after the other, so that each can say that nothing
# is left behind. It has $node and $modules (empty where the JavaScript SDKs cannot be had), $python (likewise), $client, $frame,
# and $emulator for parts that need one of their own. Each part ends with "N passed, N failed".
#   run [SANDKEY_EMULATOR [CLIENT_SCENARIO]]    default: the release build of this checkout
# Exit status: 0, 1, or 77 with the reason where the judge cannot run here. Last line: "N passed, N failed, N skipped".
set -euo pipefail

judge=$(basename "$here")
frame=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# ---- Under the emulator

if [[ ${1:-} == --inside ]]; then
  part() { # NAME COMMAND...
    local status=0
    echo "== $1"
    timeout 300 "${@:2}" 2>&1 || status=$?
    ((status == 0 || status == 1)) || echo "(ended with status $status)"
  }
  node=$2 modules=$3 python=$4 client=$5 emulator=$6
  parts
  if [[ -n $modules && -n $python ]]; then
    part "every route is called by an SDK" "$python" "$frame/coverage.py" "$here"
    part "our client's wire and theirs" "$python" "$here/compare.py" "$client" "$node" "$modules"
  fi
  exit 0
fi

# ---- Outside

bin=$frame/../../../build/release/bin
emulator=${1:-$bin/sandkey-emulator}
client=${2:-$bin/${judge}_client_scenario}
for program in "$emulator" "$client"; do
  [[ -x $program ]] || { echo "there is no $program: build it, or name it"; exit 1; }
done
emulator=$(cd "$(dirname "$emulator")" && pwd)/$(basename "$emulator")
client=$(cd "$(dirname "$client")" && pwd)/$(basename "$client")
for tool in flock python3 timeout; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed, which the judge needs"; exit 77; }
done

skipped=0
failed=0
made= # what setup says, if it could
set_up() { # KIND
  local status=0
  made=$("$frame/setup" "$judge" "$1") || status=$?
  ((status != 0)) || return 0
  echo "${made:-$1: setup failed}"
  made=
  if ((status == 77)); then skipped=$((skipped + 1)); else failed=$((failed + 1)); fi
}
set_up javascript
node=$(sed -n 1p <<<"$made") modules=$(sed -n 2p <<<"$made")
set_up python
python=$made
if [[ -z $modules && -z $python ]]; then
  echo "0 passed, $failed failed, $skipped skipped"
  ((failed == 0)) || exit 1
  exit 77
fi
[[ -n $modules && -n $python ]] || { echo "skipped: coverage and the wire, which need both SDKs"; skipped=$((skipped + 2)); }

judges=${SANDKEY_JUDGE_DIR:-$frame/../../../build/judges}
export PYTHONPYCACHEPREFIX=$(cd "$judges" && pwd)/pycache # nothing is written beside the sources
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
"$emulator" -- "$here/run" --inside "$node" "$modules" "$python" "$client" "$emulator" 2>&1 | tee "$log" || status=$?
((status == 0)) || { echo "FAILED  the emulator ended with status $status"; failed=$((failed + 1)); }

# A part without counts of its own has not come to its end.
read -r passed more <<<"$(awk '
  function close_part() { if (part && !counted) failed++ }
  /^== / { close_part(); part = 1; counted = 0 }
  /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3; counted = 1 }
  END { close_part(); print passed + 0, failed + 0 }' "$log")"
failed=$((failed + more))
echo
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
