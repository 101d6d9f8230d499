#!/bin/sh
# SeaweedFS reads its accounts from a file and from nowhere else: this writes it to a folder in
# memory, from the environment, and becomes weed.
#
# `admin` makes buckets; MLflow's server signs with it. `nodes` is what Ray's nodes hold: objects of
# the bucket `stages` and nothing else, neither another bucket nor `stages` itself.
set -eu

for name in S3_ACCESS_KEY S3_SECRET_KEY S3_NODES_ACCESS_KEY S3_NODES_SECRET_KEY; do
  eval "value=\${$name:-}"
  case $value in
    '' | *[!A-Za-z0-9/+=_-]*)
      echo "$name must consist of letters, digits and / + = _ -: run \`make secrets\`" >&2
      exit 1
      ;;
  esac
done

umask 077
file=${TMPDIR:-/tmp}/s3.json
cat >"$file" <<END
{
  "identities": [
    {
      "name": "admin",
      "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]
    },
    {
      "name": "nodes",
      "credentials": [{"accessKey": "$S3_NODES_ACCESS_KEY", "secretKey": "$S3_NODES_SECRET_KEY"}],
      "actions": ["Read:stages", "Write:stages", "List:stages"]
    }
  ]
}
END
exec weed "$@" -s3.config="$file"
