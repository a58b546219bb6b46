#!/usr/bin/env bash
# Our client against OpenHands' own server.   our_client.sh PYTHON
# The reference server is started, and the executable in SANDKEY_CLIENT_JUDGE is run with these in its environment:
#   SANDKEY_JUDGE_URL  SANDKEY_JUDGE_KEY  SANDKEY_JUDGE_KEY_FILE (mode 0600)  SANDKEY_JUDGE_WORK (its working directory)
#   SANDKEY_AGENT and SANDKEY_SESSION_KEY_FILE (the URL and the file again, as `sandkey` reads them)
# It ends with a line "N passed, N failed" and a status. Without it this is skipped (77).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -z ${SANDKEY_CLIENT_JUDGE:-} ]]; then
  echo "our client against OpenHands' server: skipped, SANDKEY_CLIENT_JUDGE is not set"
  exit 77
fi
exec "$1" "$here/servers.py" reference -- "$SANDKEY_CLIENT_JUDGE"
