r"""Harness that trains models as the large-batch record systems did, and measures training; the only user of torch.

Other packages do not import it, except a command that imports it late. One process::

    python -m lbsim.harness train --model cnn --data digits --epochs 10 --rate 20

Two machines of eight GPUs, with the same command on both; NODE is 0 on the first and 1 on the second::

    torchrun --nnodes 2 --node-rank $NODE --nproc-per-node 8 --master-addr FIRST --master-port 29500 \
        -m lbsim.harness train --model resnet50 --data images --folder /data/imagenet \
        --batch-per-gpu 256 --precision mixed --optimizer lars --rate 16 --output /shared/run

Under SLURM, in a script with ``#SBATCH --nodes 2 --ntasks-per-node 1 --gpus-per-node 8 --signal TERM@120``::

    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
        -m lbsim.harness train ...

A run that is started again with the same ``--output`` resumes from its newest checkpoint.
"""
