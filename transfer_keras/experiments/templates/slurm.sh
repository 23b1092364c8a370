#!/bin/bash
# A study, one Slurm task a group. What each job is to have goes into OPTIONS, as
# OPTIONS='--gpus=1 --cpus-per-task=8 --time=24:00:00'. Run again, only what is left is trained.
{% for task in tasks %}
# {{ loop.index0 }}: {{ task }}
{% endfor %}
set -euo pipefail
cd {{ folder }}
sweep={{ sweep }}
submit() { sbatch --parsable ${OPTIONS:-} "$@"; }
task='--task=$SLURM_ARRAY_TASK_ID'
last=$(submit --array=0-{{ bases - 1 }} --wrap "$sweep $task")
{% if tasks | length > bases %}
last=$(submit --array={{ bases }}-{{ tasks | length - 1 }} --dependency=afterok:$last --kill-on-invalid-dep=yes --wrap "$sweep $task")
{% endif %}
submit --dependency=afterany:$last --wrap "$sweep"
