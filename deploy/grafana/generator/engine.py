"""The dashboard of how the models compute."""
from panels import MODEL, SERVER, dashboard, graph, heat_map, quantile, rate

NO_STEPS = "Nothing was computed"
HITS = "sum by (model) (rate(whipsnake_state_cache_lookups_total{%s}[$__rate_interval]))"

BATCHES = ("Batches", [
    graph("Batch size", "The mean number of sequences in a forward pass.", "none",
          [(f"{rate('whipsnake_batch_size_sum', MODEL, 'model, phase')} / {rate('whipsnake_batch_size_count', MODEL, 'model, phase')}",
            "{{model}} {{phase}}")], NO_STEPS),
    graph("Slots", "The part of the places in the batch that is taken. A batch that stays full makes requests wait.", "percentunit",
          [(f"sum by (model) (whipsnake_state_slots_used{{{MODEL}}}) / sum by (model) (whipsnake_state_slots_limit{{{MODEL}}})",
            "{{model}}")], "No models", maximum=1),
    graph("Waiting", "Requests in the queue.", "none",
          [(f"sum by (model) (whipsnake_requests_waiting{{{MODEL}}})", "{{model}}")], "No models"),
    heat_map("Sequences in a decode pass", "How often passes had so many sequences.", "none", "whipsnake_batch_size",
             MODEL + ', phase="decode"', NO_STEPS),
    heat_map("Duration of a pass", "Forward passes of all phases.", "s", "whipsnake_engine_step_duration_seconds", MODEL, NO_STEPS),
])

PHASES = ("Phases of a request", [
    heat_map("Queue", "From the arrival of the RPC to the start of its prefill.", "s", "whipsnake_queue_duration_seconds",
             none="No requests", width=8),
    heat_map("Prefill", "From the start of a request's prefill to its end.", "s", "whipsnake_prefill_duration_seconds",
             none="No requests", width=8),
    heat_map("Decode", "From a request's first token to its last.", "s", "whipsnake_decode_duration_seconds",
             none="No requests", width=8),
    graph("Duration of a pass, p95", "95 % of the forward passes are quicker.", "s",
          [(quantile(0.95, "whipsnake_engine_step_duration_seconds", "model, phase"), "{{model}} {{phase}}")], NO_STEPS),
    graph("Passes", "Forward passes in each second.", "ops",
          [(rate("whipsnake_engine_step_duration_seconds_count", MODEL, "model, phase"), "{{model}} {{phase}}")], NO_STEPS),
    graph("Computing", "The part of the time in which the compute thread worked, for serving and for training (which includes "
          "quantization).", "percentunit",
          [(rate("whipsnake_compute_seconds_total", SERVER, "instance, work"), "{{instance}} {{work}}")], "No server is scraped",
          stack=True),
])

MEMORY = ("Memory", [
    graph("Engine's memory by purpose", "What the engine has reserved. States include the prefix caches, which give way when "
          "memory is needed.", "bytes",
          [(f"sum by (purpose) (whipsnake_device_memory_purpose_bytes{{{SERVER}}}) > 0", "{{purpose}}")], "No server is scraped", stack=True),
    graph("Engine's memory", "The part of the engine's memory that is reserved. Above 90 % WhipsnakeMemoryHigh fires.", "percentunit",
          [(f"whipsnake_device_memory_used_bytes{{{SERVER}}} / (whipsnake_device_memory_limit_bytes{{{SERVER}}} > 0)",
            "{{instance}} {{device}}")], "No server is scraped", maximum=1, limit=0.9),
    graph("Process", "Resident memory, mapped weights included.", "bytes",
          [(f'process_resident_memory_bytes{{job="whipsnake", {SERVER}}}', "{{instance}}")], "No server is scraped"),
    graph("Weights", "Size of the loaded weights.", "bytes",
          [(f"sum by (model, scheme) (whipsnake_weights_bytes{{{MODEL}}})", "{{model}} {{scheme}}")], "No models"),
    graph("States", "Of sequences that run or were preempted, and of the prefix cache.", "bytes",
          [(f"sum by (model) (whipsnake_state_bytes{{{MODEL}}})", "{{model}} running"),
           (f"sum by (model) (whipsnake_state_cache_bytes{{{MODEL}}})", "{{model}} cache")], "No models"),
    graph("Saved states", "States that clients have saved.", "bytes",
          [(f"sum by (place) (whipsnake_saved_state_bytes{{{SERVER}}})", "{{place}}")], "No server is scraped"),
])

REUSE = ("Reuse and connections", [
    graph("Prefix cache", "The part of the lookups that found a prefix of the prompt.", "percentunit",
          [(f"{HITS % (MODEL + ', result=' + chr(34) + 'hit' + chr(34))} / {HITS % MODEL}", "{{model}}")], "No requests", maximum=1),
    graph("Connections", "Open connections, by port.", "none",
          [(f"whipsnake_connections{{{SERVER}}}", "{{instance}} {{port}}")], "No server is scraped"),
    graph("Connections turned away", "Refused (grpc), or closed in favor of a newer one (http), because the limit was reached.",
          "cps", [(f"rate(whipsnake_connections_turned_away_total{{{SERVER}}}[$__rate_interval])", "{{instance}} {{port}}")],
          "No server is scraped"),
    graph("Open files", "The part of the limit of open files that is used.", "percentunit",
          [(f'process_open_fds{{job="whipsnake", {SERVER}}} / process_max_fds{{job="whipsnake", {SERVER}}}', "{{instance}}")],
          "No server is scraped", limit=0.9),
    graph("Processor", "Processors that the process keeps busy.", "none",
          [(f'rate(process_cpu_seconds_total{{job="whipsnake", {SERVER}}}[$__rate_interval])', "{{instance}}")], "No server is scraped"),
    graph("Loading", "Mean duration of the loads of each model.", "s",
          [(f"whipsnake_model_load_duration_seconds_sum{{{MODEL}}} / whipsnake_model_load_duration_seconds_count{{{MODEL}}}",
            "{{instance}} {{model}}")], "Nothing was loaded"),
])

DASHBOARD = dashboard("whipsnake-engine", "Whipsnake: engine", "How the models compute: batches, phases, memory.",
                      [BATCHES, PHASES, MEMORY, REUSE])
