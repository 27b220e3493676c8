"""The dashboard of what users feel."""
from panels import (GREEN, MODEL, RED, SERVER, YELLOW, dashboard, graph, quantile, quantiles, rate,
                    ratio, stat, states, steps)

# Requests that the server failed, those that it refused although they were valid, all that ended.
FAILED, REFUSED, ENDED = (f"sum(rate({series}[$__rate_interval]))" for series in (
    f'whipsnake_requests_finished_total{{{MODEL}, reason="error"}}',
    f'whipsnake_requests_rejected_total{{{MODEL}, reason=~"queue_full|other"}}',
    f"whipsnake_requests_finished_total{{{MODEL}}}"))
NO_REQUESTS = "No requests"

NOW = ("Now", [
    stat("Servers up",
         "Servers that answered the last scrape.",
         "none", [(f'sum(up{{job="whipsnake", {SERVER}}})', "up")], "No server is scraped",
         thresholds=steps((RED, None), (GREEN, 1))),
    stat("Models ready",
         "Models that serve, of all servers.",
         "none", [(f'sum(whipsnake_model_state{{{MODEL}, state="ready"}})', "ready")], "No models",
         thresholds=steps((RED, None), (GREEN, 1))),
    stat("Requests",
         "Requests that ended, in each second.",
         "reqps",
         [(f"sum(rate(whipsnake_requests_finished_total{{{MODEL}}}[$__rate_interval]))",
           "requests")], NO_REQUESTS),
    stat("Errors",
         "The part of the requests that the server failed or refused although they were valid. "
         "0.5 % are allowed in 30 days.",
         "percentunit", [(ratio(f"({FAILED} + {REFUSED})", f"({ENDED} + {REFUSED})"), "errors")],
         NO_REQUESTS,
         thresholds=steps((GREEN, None), (YELLOW, 0.005), (RED, 0.03))),
    stat("First token, p95",
         "Within this time 95 % of the requests have their first token. The objective is 2.5 s.",
         "s", [(quantile(0.95, "whipsnake_time_to_first_token_seconds", by=""), "p95")],
         NO_REQUESTS, thresholds=steps((GREEN, None), (YELLOW, 1), (RED, 2.5))),
    stat("Draining",
         "Servers that accept no new requests because they stop.",
         "none", [(f"sum(whipsnake_draining{{{SERVER}}})", "draining")], "No server is scraped",
         thresholds=steps((GREEN, None), (YELLOW, 1))),
])

TRAFFIC = ("Requests", [
    graph("Requests by their end",
          "eos, length and stop are completions; cancelled and deadline are the client's; error "
          "is the server's.",
          "reqps", [(rate("whipsnake_requests_finished_total", MODEL, "reason"), "{{reason}}")],
          NO_REQUESTS, stack=True),
    graph("Refused requests",
          "Requests that were refused before they were queued. invalid is the client's fault; "
          "queue_full asks for more servers or a longer queue.",
          "reqps",
          [(rate("whipsnake_requests_rejected_total", MODEL, "model, reason"),
            "{{model}} {{reason}}")], NO_REQUESTS),
    graph("Errors",
          "As the alerts count them: over 5 minutes and over an hour, for each model. The line is "
          "the rate at which WhipsnakeErrorsFast fires.",
          "percentunit",
          [('model:whipsnake_request_errors:ratio_rate5m{model=~"$model"}', "{{model}} 5 min"),
           ('model:whipsnake_request_errors:ratio_rate1h{model=~"$model"}', "{{model}} 1 h")],
          NO_REQUESTS, limit=0.072),
    graph("Running and waiting",
          "Requests in the batch, and in the queue behind it.",
          "none",
          [(f"sum by (model) (whipsnake_requests_running{{{MODEL}}})", "{{model}} running"),
           (f"sum by (model) (whipsnake_requests_waiting{{{MODEL}}})", "{{model}} waiting")],
          "No models"),
    graph("Tokens",
          "Tokens of requests that ended, in each second. Cached prompt tokens needed no "
          "computation.",
          "none",
          [(rate("whipsnake_generated_tokens_total", MODEL, "model"), "{{model}} generated"),
           (rate("whipsnake_prompt_tokens_total", MODEL, "model"), "{{model}} prompt"),
           (rate("whipsnake_cached_prompt_tokens_total", MODEL, "model"), "{{model}} cached")],
          NO_REQUESTS),
    graph("RPCs by status",
          "All methods, those of jobs and of operators too.",
          "reqps", [(rate("whipsnake_rpc_requests_total", SERVER, "code"), "{{code}}")], "No calls",
          stack=True),
])

LATENCY = ("Latency", [
    graph("Time to first token",
          "From the arrival of the RPC, so the queue and the prefill are included. The line is "
          "the objective of the 95th percentile.",
          "s", quantiles("whipsnake_time_to_first_token_seconds"), NO_REQUESTS, limit=2.5),
    graph("Between tokens",
          "From one token of a request to its next.",
          "s", quantiles("whipsnake_inter_token_latency_seconds"), NO_REQUESTS),
    graph("Whole requests",
          "From the arrival of the RPC to the end of its generation, cancelled requests included.",
          "s", quantiles("whipsnake_request_duration_seconds"), NO_REQUESTS),
])

SERVERS = ("Servers", [
    states("Models",
           "loading, ready, unloading or failed, for each server and model.",
           [(f'whipsnake_model_state{{{MODEL}, state="ready"}}'
             f' + ignoring (state) 2 * whipsnake_model_state{{{MODEL}, state="failed"}}',
             "{{instance}} {{model}}")],
           {0: ("loading or unloading", YELLOW), 1: ("ready", GREEN), 2: ("failed", RED)},
           "No models"),
    stat("Versions",
         "The version, commit and instruction set of each server.",
         "none",
         [(f"whipsnake_build_info{{{SERVER}}}", "{{instance}}  {{version}}  {{commit}}  {{isa}}")],
         "No server is scraped", width=12, height=6, text="name"),
    graph("Data directory",
          "What the parts of the data directories take, and what is free on their disks.",
          "bytes",
          [(f"sum by (part) (whipsnake_data_directory_used_bytes{{{SERVER}}})", "{{part}}"),
           (f"whipsnake_data_directory_free_bytes{{{SERVER}}}", "{{instance}} free")],
          "No data directory; serve needs --data"),
    graph("Disk errors",
          "Failures to write, read or remove the server's files in the last 10 minutes. Each has "
          "a line in the log.",
          "none",
          [(f"sum by (kind) (increase(whipsnake_disk_errors_total{{{SERVER}}}[10m]))", "{{kind}}")],
          "No server is scraped"),
    graph("Lines of the log",
          "Lines of each level, and those that were left out because there were too many of the "
          "same kind, in each second.",
          "cps",
          [(rate("whipsnake_log_lines_total", SERVER, "level"), "{{level}}"),
           (rate("whipsnake_log_lines_dropped_total", SERVER, "instance"),
            "{{instance}} left out")], "No server is scraped"),
])

DASHBOARD = dashboard("whipsnake-overview", "Whipsnake: overview",
                      "What the users of the servers feel.",
                      [NOW, TRAFFIC, LATENCY, SERVERS])
