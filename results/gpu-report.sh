#!/usr/bin/env bash
# What a machine with a GPU has to say, in 8 minutes at most: tests, a step at two batch sizes, one over a million items,
# a run with its evaluations. Writes as it goes; what takes too long is cut off and leaves the others their time.
#
#     bash results/gpu-report.sh FOLDER                          # over generated sessions
#     bash results/gpu-report.sh FOLDER --dataset tmall --data_path dataset
#
# ITEMS, MANY and ROUNDS make it smaller.
set -u
cd "$(dirname "$0")/.."
mkdir -p "${1:?a folder for the report}"
out=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- --items "${ITEMS:-40000}"
rounds=${ROUNDS:-8}

part() {  # NAME SECONDS COMMAND ..
  local name=$1 seconds=$2 start=$SECONDS
  shift 2
  timeout -k 5 "$seconds" "$@" >"$out/$name.log" 2>&1
  echo "$name: exit $?, $((SECONDS - start)) s" | tee -a "$out/summary.txt"
}
train() { part "$1" "$2" python -m recbole_odrec benchmark train --no_progress --output "$out/$1.json" "${@:3}"; }

: >"$out/summary.txt"
part tests 120 python -m pytest -q -n 4 tests/trainer/test_devices.py tests/losses tests/nn tests/model
train step-512 100 "$@" --rounds "$rounds" --tables tensor_train codes
train step-4096 100 "$@" --rounds "$rounds" --batch_size 4096
train step-many-items 80 --items "${MANY:-1000000}" --rounds 2 --steps 2
part run 60 python run_recbole_odrec.py --model=ODRec --dataset=ml-100k --epochs=3 --checkpoint_dir="$out/saved"
grep -h "^|" "$out"/step-*.log
