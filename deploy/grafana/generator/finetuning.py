"""The dashboard of fine-tuning jobs.

The series of a running job have its slot as their label, and whipsnake_finetune_job_info says which
job has the slot. A query joins the two, so that legends show the job's id; Prometheus calls that
label exported_job, as its own is `job`.
"""
from panels import GREEN, RED, SERVER, dashboard, graph, heat_map, rate, ratio, stat, steps

NO_JOB = "No job is running"
NO_DATA_DIRECTORY = "No jobs; serve needs --data"
WAITING = 'state=~"validating|queued|paused"'


def of_job(metric, legend="", selector=""):
    """Returns the query of a metric of running jobs, by their ids."""
    series = f"{metric}{{{SERVER}{selector}}}"
    info = "whipsnake_finetune_job_info"
    return (f"{series} * on (instance, slot) group_left (exported_job) {info}",
            "{{exported_job}}" + legend)


def count(state):
    return f'sum(whipsnake_finetune_jobs{{{SERVER}, state="{state}"}})'


NOW = ("Now", [
    stat("Running",
         "Jobs that train now.",
         "none", [(count("running"), "running")], NO_DATA_DIRECTORY),
    stat("Waiting",
         "Jobs whose data are validated, that are queued, or that are paused.",
         "none", [(f"sum(whipsnake_finetune_jobs{{{SERVER}, {WAITING}}})", "waiting")],
         NO_DATA_DIRECTORY),
    stat("Succeeded",
         "Jobs that have succeeded and were not deleted.",
         "none", [(count("succeeded"), "succeeded")], NO_DATA_DIRECTORY),
    stat("Failed",
         "Jobs that have failed and were not deleted.",
         "none", [(count("failed"), "failed")], NO_DATA_DIRECTORY,
         thresholds=steps((GREEN, None), (RED, 1))),
    stat("Progress",
         "The part of its steps that each running job has done.",
         "percentunit", [of_job("whipsnake_finetune_progress_ratio")], NO_JOB, width=8),
])

PROGRESS = ("Progress", [
    graph("Jobs by state",
          "Ended jobs are counted until they are deleted.",
          "none", [(f"sum by (state) (whipsnake_finetune_jobs{{{SERVER}}}) > 0", "{{state}}")],
          NO_DATA_DIRECTORY),
    graph("Progress",
          "The part of a job's steps that is done.",
          "percentunit", [of_job("whipsnake_finetune_progress_ratio")], NO_JOB, maximum=1),
    graph("Wait",
          "From the creation of a job to its first start: the mean of the jobs since the start of "
          "the server.",
          "s",
          [(ratio(f"whipsnake_finetune_queue_duration_seconds_sum{{{SERVER}}}",
                  f"whipsnake_finetune_queue_duration_seconds_count{{{SERVER}}}"),
            "{{instance}}")], "No job has started"),
    graph("Loss",
          "Of the last step (train) and of the last evaluation (eval).",
          "none",
          [of_job("whipsnake_finetune_loss", " train", ', split="train"'),
           of_job("whipsnake_finetune_loss", " eval", ', split="eval"')], NO_JOB, width=12,
          minimum=None),
    graph("Frozen layers",
          "The part of the layers that did not train in the last step.",
          "percentunit", [of_job("whipsnake_finetune_frozen_ratio")], NO_JOB, width=12, maximum=1),
])

SPEED = ("Speed", [
    graph("Examples",
          "Examples of steps, in each second; a window of packed texts is one.",
          "none",
          [(rate("whipsnake_finetune_samples_total", SERVER, "base_model"), "{{base_model}}")],
          NO_JOB),
    graph("Tokens",
          "Tokens of steps, in each second.",
          "none",
          [(rate("whipsnake_finetune_tokens_total", SERVER, "base_model"), "{{base_model}}")],
          NO_JOB),
    graph("Steps",
          "Steps in each second.",
          "ops", [(rate("whipsnake_finetune_steps_total", SERVER, "base_model"), "{{base_model}}")],
          NO_JOB),
    heat_map("Duration of a step",
             "Steps of training. Times in which serving had the turn are included.",
             "s", "whipsnake_finetune_step_duration_seconds", SERVER + ', phase="train"', NO_JOB),
    graph("Computing",
          "The part of the time in which the compute thread worked for training and for serving. "
          "Beside serving, training has --training-share of it.",
          "percentunit", [(rate("whipsnake_compute_seconds_total", SERVER, "work"), "{{work}}")],
          "No server is scraped", width=12, stack=True),
])

MEMORY = ("Memory of running jobs", [
    graph("Reserved and used",
          "What is reserved for a job, and the most that it has had.",
          "bytes",
          [of_job("whipsnake_finetune_reserved_bytes", " reserved"),
           of_job("whipsnake_finetune_peak_memory_bytes", " peak")], NO_JOB),
    graph("Activations",
          "Activations, gradients and temporary matrices of the last step, at their highest. "
          "Frozen layers save none.",
          "bytes", [of_job("whipsnake_finetune_activation_bytes")], NO_JOB),
    graph("Moments",
          "Moments of the optimizer.",
          "bytes", [of_job("whipsnake_finetune_moment_bytes")], NO_JOB),
])

EVENTS = ("Events", [
    graph("Interruptions",
          "Times that training stopped within a step to let requests compute, in each second.",
          "ops",
          [(rate("whipsnake_finetune_preemptions_total", SERVER, "reason"), "for {{reason}}")],
          "No server is scraped"),
    graph("Checkpoints",
          "Checkpoints that were written, and that failed, in the last 10 minutes.",
          "none",
          [(f"sum by (result) (increase(whipsnake_finetune_checkpoints_total{{{SERVER}}}[10m]))",
            "{{result}}")], "No checkpoints"),
    graph("Changes of state",
          "Jobs that came into a state since the start of the server, and what made them.",
          "none",
          [(f"sum by (to, reason) (whipsnake_finetune_job_transitions_total{{{SERVER}}}) > 0",
            "{{to}}, {{reason}}")], "Nothing has changed"),
    graph("Data sets",
          "Data sets by state.",
          "none", [(f"sum by (state) (whipsnake_datasets{{{SERVER}}}) > 0", "{{state}}")],
          NO_DATA_DIRECTORY, width=12),
    graph("Bytes of data sets",
          "Bytes that have been received of all data sets.",
          "bytes", [(f"sum by (instance) (whipsnake_dataset_bytes{{{SERVER}}})", "{{instance}}")],
          NO_DATA_DIRECTORY, width=12),
])

DASHBOARD = dashboard("whipsnake-finetuning", "Whipsnake: fine-tuning",
                      "Jobs: queue, progress, speed, memory.",
                      [NOW, PROGRESS, SPEED, MEMORY, EVENTS])
