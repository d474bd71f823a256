#!/usr/bin/env bash
# A run on Slurm: one Ray per allocation, which begins and ends with it.
#   sbatch cluster/slurm.sh digits --set training.workers=2
# What follows is the case and the options of `kindred run`. A job that is preempted or reaches its time goes back into
# the queue, and goes on from its last checkpoint. Change what is marked CHANGE; see cluster/README.md.
#SBATCH --job-name=kindred
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=kindred-%j.log
#SBATCH --signal=B:USR1@300
##SBATCH --partition=gpu --gpus-per-node=1
# CHANGE: with a second # a line is off. USR1 comes 300 s before the time is up: long enough for a checkpoint.
set -euo pipefail

# CHANGE: both on a file system that every node sees. The environment has Kindred (pip install), the storage gets the run.
environment=${KINDRED_ENVIRONMENT:-$HOME/kindred}
storage=${KINDRED_STORAGE:-$HOME/kindred-runs}

# Any other user of the machines could run programs on a Ray without a token.
token=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token RAY_USAGE_STATS_ENABLED=0
if [[ ! -s $token ]]; then
  echo "found no token in $token; expected a file that \`ray get-auth-token --generate\` wrote" >&2
  exit 2
fi
export PATH=$environment/bin:$PATH

# The script runs on the allocation's first node, and so do the head and the run's driver.
head=$(hostname --short)
read -r address _ <<< "$(hostname --all-ip-addresses)"      # CHANGE: where the nodes speak over another interface
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_ADDRESS=$address:$port

processes=() run='' signalled='' again=''
# shellcheck disable=SC2317 # called by trap
stop_run() {
  signalled=yes
  if [[ -n $run ]]; then kill -TERM "$run" 2> /dev/null || true; fi
}
# shellcheck disable=SC2317 # called by trap
end_ray() {
  # The steps alone: `ray stop` would end whatever Ray of this user is on the node.
  for process in "${processes[@]}"; do kill -TERM "$process" 2> /dev/null || true; done
  wait
}
trap end_ray EXIT
trap stop_run TERM                    # scancel, and preemption: Slurm itself puts a preempted job back
trap 'again=yes; stop_run' USR1       # the time is nearly up

one_of_each=(--ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --overlap)
ray=(ray start --block --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
srun "${one_of_each[@]}" --nodes=1 --ntasks=1 --nodelist="$head" \
  "${ray[@]}" --head --node-ip-address="$address" --port="$port" --include-dashboard=false &
processes+=($!)

deadline=$((SECONDS + 120))
until ray status --address="$RAY_ADDRESS" > /dev/null 2>&1; do
  if [[ -n $signalled ]] || ((SECONDS > deadline)) || ! kill -0 "${processes[0]}" 2> /dev/null; then
    echo "the head of Ray did not start on $head; its output is above" >&2
    exit 1
  fi
  sleep 1
done
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
  srun "${one_of_each[@]}" --nodes="$others" --ntasks="$others" --exclude="$head" \
    "${ray[@]}" --address="$RAY_ADDRESS" &
  processes+=($!)
fi

# What comes first of two --set counts less: a storage.path of your own wins.
kindred run "${1:-digits}" --set "storage.path=$storage" "${@:2}" &
run=$!
if [[ -n $signalled ]]; then stop_run; fi
while true; do
  signalled='' code=0
  wait "$run" || code=$?
  if [[ -z $signalled ]]; then break; fi          # a signal ends the waiting as well, before the run has ended
done

if [[ -n $again && $code -ne 0 ]]; then
  echo "the time is up; back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
