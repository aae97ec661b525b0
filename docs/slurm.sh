#!/bin/bash
# One training as a Slurm job that saves itself, goes back into the queue and goes on, until it is finished:
#
#   sbatch docs/slurm.sh pretrain recipe.yaml out=/shared/runs/bert
#
# out= must be on a file system that all nodes share. Five minutes before its time is over (or it is preempted, where
# the cluster has PreemptParameters=send_user_signal) Slurm sends USR1 to this script alone. See docs/clusters.md.
#SBATCH --job-name=ptft
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append

out=""
for argument in "$@"; do
    case $argument in out=*) out=${argument#out=} ;; esac
done
if [ -z "$out" ]; then
    echo "slurm.sh: give out=FOLDER, on a file system that all nodes share" >&2
    exit 2
fi

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
save_seconds=${SAVE_SECONDS:-240} # torchrun kills processes that need longer to save; less than the 300 above
training=""
is_out_of_time=0

# TERM goes to the processes of the job's step, which finish the training's step, save and end. It must not go to srun,
# which would kill them; and torchrun passes on no USR1 unless told.
stop_training() { [ -n "$training" ] && scancel --signal=TERM "$SLURM_JOB_ID"; }
trap 'is_out_of_time=1; stop_training' USR1
trap stop_training TERM

srun --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}" \
    --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$head_node:$port" \
    --shutdown-timeout="$save_seconds" -m ptft "$@" &
training=$!
[ "$is_out_of_time" = 1 ] && stop_training # the signal came before there was something to stop

wait "$training"
code=$?
while kill -0 "$training" 2>/dev/null; do # a signal ends wait before the training has ended
    wait "$training"
    code=$?
done

if [ "$is_out_of_time" = 1 ] && [ ! -e "$out/result.json" ]; then
    echo "slurm.sh: out of time; back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$code"
