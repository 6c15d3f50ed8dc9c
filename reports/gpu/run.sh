#!/bin/sh
# What to measure on a machine with GPUs; see README.md beside this. Never run yet. Traces land in traces/harness/.
set -eu
cd "$(dirname "$0")/../.."
gpus=${GPUS:-$(python -c 'import torch; print(torch.cuda.device_count())')}
[ "$gpus" -gt 0 ] || { echo "torch sees no GPU here" >&2; exit 2; }

for model in alexnet alexnet-bn resnet50 resnet101 resnet152 vgg16; do
  python -m lbsim.harness bench step --model "$model" --batches "${BATCHES:-1,8,32,64,128}" \
    --precisions fp32,tf32,mixed,bf16 --optimizer lars --out "traces/harness/gpu-step-$model.json"
done
# must be at least 0.9 in mixed precision
python -m lbsim.harness bench step --model resnet50 --batches "${BESIDE:-64,128,256}" --precisions mixed,bf16 \
  --optimizer sgd --beside-plain --repeats 50 --warm-up 20 --out traces/harness/gpu-beside-resnet50.json
python -m lbsim.harness train --model resnet50 --data synthetic --precision mixed --optimizer lars --batch-per-gpu 64 \
  --steps 200 --output "${OUTPUT:-gpu-run}"

[ "$gpus" -gt 1 ] || exit 0
torchrun --nproc-per-node "$gpus" -m lbsim.harness bench all-reduce --precisions fp32,fp16 \
  --sizes "4 KiB, 64 KiB, 1 MiB, 16 MiB, 64 MiB, 256 MiB" --out "traces/harness/gpu-all-reduce-$gpus.json"
for fusion in threshold mg-wfbp optimal; do
  torchrun --nproc-per-node "$gpus" -m lbsim.harness bench scaling --model resnet50 --batch-per-gpu 64 --precision mixed \
    --fusion "$fusion" --communication-precision fp16 --out "traces/harness/gpu-scaling-$gpus-$fusion.json"
done
