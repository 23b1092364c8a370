#!/bin/bash
# A study, one Slurm task a group. What each job is to have goes into OPTIONS, as
# OPTIONS='--gpus=1 --cpus-per-task=8 --time=24:00:00'. Run again, only what is left is trained.
{% for task in tasks %}
# {{ loop.index0 }}: {{ task | comment }}
{% endfor %}
set -euo pipefail
cd {{ folder }}
sweep={{ sweep }}
submit() { sbatch --parsable ${OPTIONS:-} "$@"; }
task='--task=$SLURM_ARRAY_TASK_ID'
{% for array in arrays %}
last=$(submit --array={{ array }} {% if not loop.first %}--dependency=afterok:$last --kill-on-invalid-dep=yes {% endif %}--wrap "$sweep $task")
{% endfor %}
submit --dependency=afterany:$last --wrap "$sweep"
