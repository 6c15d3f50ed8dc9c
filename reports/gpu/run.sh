#!/bin/sh
# sh reports/gpu/run.sh              measures on this machine's GPUs; see README.md beside this
# sh reports/gpu/run.sh rehearse     the same commands on the CPU, as small as they go, into a folder of their own
# sh reports/gpu/run.sh wheels DIR   fetches, with a network, what a machine without one lacks; WHEELS=DIR uses it there
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
needed="numpy pydantic rich simpy typer" # all that the harness imports, beside torch

if [ "${1:-}" = wheels ]; then
  # shellcheck disable=SC2086
  exec "$python" -m pip download -c constraints.txt --only-binary :all: --python-version "${FOR:-3.12}" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --dest "${2:?wheels: into which folder?}" $needed
fi

if [ -n "${WHEELS:-}" ]; then
  packages=$(mktemp -d)
  trap 'rm -rf "$packages"' EXIT
  # shellcheck disable=SC2086
  "$python" -m pip install --quiet --no-index --find-links "$WHEELS" --target "$packages" $needed
  export PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"
fi
missing=$("$python" -c 'import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if not u.find_spec(n)))' torch $needed)
[ -z "$missing" ] || { echo "not installed: $missing; sh $0 wheels DIR, where there is a network, and WHEELS=DIR here" >&2; exit 2; }

if [ "${1:-}" = rehearse ]; then
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # ranks share the cores
  device=cpu cpu=--cpu gpus=${GPUS:-2} few="--repeats 1 --warm-up 0" beside_few="--repeats 2 --warm-up 0" steps=2 batch=1
  traces=${TRACES:-gpu-rehearsal} batches=${BATCHES:-1} beside=${BESIDE:-1} sizes="4 KiB, 64 KiB" scaled="--steps 1 --warm-up 1"
  output=${OUTPUT:-$traces/gpu-run}
else
  device=cuda cpu='' gpus=${GPUS:-$("$python" -c 'import torch; print(torch.cuda.device_count())')}
  [ "$gpus" -gt 0 ] || { echo "torch sees no GPU here; on a CPU: sh $0 rehearse" >&2; exit 2; }
  few='' beside_few="--repeats 50 --warm-up 20" steps=200 batch=64 scaled=''
  traces=${TRACES:-traces/harness} batches=${BATCHES:-1,8,32,64,128} beside=${BESIDE:-64,128,256}
  sizes="4 KiB, 64 KiB, 1 MiB, 16 MiB, 64 MiB, 256 MiB" output=${OUTPUT:-gpu-run}
fi
# those of fp32, tf32, mixed and bf16 that the device has
precisions=$("$python" -c '
import sys, torch
from lbsim.errors import InputError
from lbsim.harness.training.precision import require
def there(precision):
    try: require(precision, torch.device(sys.argv[1]))
    except InputError: return False
    return True
print(",".join(filter(there, ("fp32", "tf32", "mixed", "bf16"))))' "$device")
half=mixed
case ",$precisions," in *,mixed,*) ;; *) half=bf16 ;; esac # a rehearsal's alone: every GPU has mixed
harness() { echo "+ lbsim.harness $*"; "$python" -m lbsim.harness "$@"; }
on_all() { echo "+ $gpus x lbsim.harness $*"; "$python" -m torch.distributed.run --nproc-per-node "$gpus" \
  --master-addr 127.0.0.1 --master-port "${PORT:-29500}" -m lbsim.harness "$@"; }

# shellcheck disable=SC2086
{
for model in ${MODELS:-alexnet alexnet-bn resnet50 resnet101 resnet152 vgg16}; do
  harness bench step $cpu --model "$model" --batches "$batches" --precisions "$precisions" --optimizer lars $few \
    --out "$traces/gpu-step-$model.json"
done
model=${MODEL:-resnet50}
# must be at least 0.9 in mixed precision, on a GPU
harness bench step $cpu --model "$model" --batches "$beside" --precisions "$half" --optimizer sgd --beside-plain $beside_few \
  --out "$traces/gpu-beside-$model.json"
harness train --device $device --model "$model" --data synthetic --precision "$half" --optimizer lars --batch-per-gpu "$batch" \
  --steps "$steps" --output "$output"

[ "$gpus" -gt 1 ] || exit 0
on_all bench all-reduce $cpu --precisions fp32,fp16 --sizes "$sizes" --out "$traces/gpu-all-reduce-$gpus.json"
for fusion in threshold mg-wfbp optimal; do
  on_all bench scaling $cpu --model "$model" --batch-per-gpu "$batch" --precision "$half" --fusion "$fusion" \
    --communication-precision fp16 $scaled --out "$traces/gpu-scaling-$gpus-$fusion.json"
done
}
