// `whipsnake serve`: the daemon.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "engine/base/status.h"
#include "engine/checkpoint/hub_cache.h"
#include "server/cli/command.h"
#include "server/daemon.h"
#include "server/guarded.h"
#include "server/logging.h"
#include "server/open_files.h"
#include "server/rpc/grpc_log.h"
#include "server/signals.h"

namespace whipsnake::server {
namespace {

struct ServeFlags {
  DaemonOptions daemon;
  std::vector<std::string> models;  // NAME=DIR, or the name of a model in a hub's cache
  bool allow_missing = false;
  std::string console = "auto";
  double grace_seconds = 25;
  double checkpoint_seconds = 60;
  double retry_seconds = 10;
  bool reflection = false, no_reflection = false;
  bool log_json = false;
};

// Parses a --model.
absl::StatusOr<NamedModel> ParseModel(const std::string& text, const ServeFlags& flags) {
  const size_t equals = text.find('=');
  const bool named = equals != std::string::npos;
  NamedModel model;
  const std::string caches[] = {flags.daemon.model_root, engine::HubCacheRoot()};
  const auto directory = engine::FindModelDirectory(named ? text.substr(equals + 1) : text, caches);
  if (!directory.ok()) return engine::WithContext(directory.status(), "--model");
  model.directory = *directory;
  model.name = named ? text.substr(0, equals) : engine::HubName(model.directory);
  if (model.directory.empty() || model.name.empty()) {
    return engine::InvalidField(
        "--model", text, "NAME=DIR, or Org/Name of a model in a cache of the Hugging Face hub");
  }
  std::error_code error;
  if (!flags.allow_missing && !std::filesystem::exists(model.directory + "/config.json", error)) {
    return engine::InvalidField("--model", text,
                                absl::StrCat("a model directory, but there is no ", model.directory,
                                             "/config.json (--allow-missing serves without it)"));
  }
  return model;
}

absl::StatusOr<DaemonOptions> ToOptions(const ServeFlags& flags) {
  DaemonOptions options = flags.daemon;
  if (flags.reflection || flags.no_reflection) options.access.reflection = flags.reflection;
  if (flags.console != "auto") options.console = flags.console == "on";
  options.grace_period =
      std::chrono::milliseconds(static_cast<int64_t>(flags.grace_seconds * 1000));
  options.jobs.checkpoint_interval =
      std::chrono::milliseconds(static_cast<int64_t>(flags.checkpoint_seconds * 1000));
  options.jobs.jobs.first_backoff =
      std::chrono::milliseconds(static_cast<int64_t>(flags.retry_seconds * 1000));
  for (const std::string& model : flags.models) {
    ASSIGN_OR_RETURN(options.models.emplace_back(), ParseModel(model, flags));
  }
  if (options.models.empty() && options.model_root.empty()) {
    return absl::InvalidArgumentError(
        "nothing to serve: give --model NAME=DIR, or --model-root DIR for models that clients "
        "load");
  }
  return options;
}

// Prints one line that scripts wait for. By then the models have been loaded or have failed.
void PrintListening(const Daemon& daemon, const Output& output) {
  if (output.json()) {
    output.Object(
        {{"event", "listening"}, {"grpc", daemon.grpc_address()}, {"http", daemon.http_address()}});
  } else {
    std::printf("listening grpc=%s http=%s\n", daemon.grpc_address().c_str(),
                daemon.http_address().c_str());
  }
  std::fflush(stdout);
}

absl::StatusOr<int> Serve(const ServeFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(DaemonOptions options, ToOptions(flags));
  SignalWatcher signals;          // before any thread
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe on our output must not end the daemon
  std::signal(SIGXFSZ, SIG_IGN);  // nor must a limit on the size of files, which write() reports
  InitLogging(flags.log_json ? LogFormat::kJson : LogFormat::kText);
  SendGrpcLogToOurs();
  RaiseOpenFileLimit();
  ASSIGN_OR_RETURN(const std::unique_ptr<Daemon> daemon, Daemon::Start(std::move(options)));
  signals.Start([&daemon] { daemon->RequestDrain(); },
                [&daemon] { RunGuarded("reload", [&] { daemon->Reload(); }); });
  const absl::Cleanup stop = [&signals] { signals.Stop(); };  // before the daemon goes
  daemon->WaitUntilLoaded();
  PrintListening(*daemon, output);
  daemon->Wait();
  return 0;
}

}  // namespace

void AddServeCommand(CommandLine& line) {
  auto flags = std::make_shared<ServeFlags>();
  DaemonOptions& daemon = flags->daemon;
  Command command = line.Add(
      "serve", "Serves models over gRPC, with metrics over HTTP, until SIGTERM or SIGINT",
      "  whipsnake serve --model demo=deploy/models/mamba-demo\n"
      "  whipsnake serve --model-root /srv/models --listen 0.0.0.0:8500 --insecure-listen\n",
      [flags](const Output& output) { return Serve(*flags, output); });
  command
      .AddOption("--model", flags->models,
                 "A model to load at the start: its directory, or a model of a Hugging Face cache "
                 "by its path or as Org/Name, which then need no NAME; repeatable")
      .TypeName("[NAME=]DIR");
  command.AddFlag("--allow-missing", flags->allow_missing,
                  "Serves the other models if the directory of a --model is not there; without it, "
                  "that ends the program");
  command
      .AddOption("--model-root", daemon.model_root, "Directory of the models that clients may load")
      .TypeName("DIR");
  command
      .AddOption(
          "--scheme", daemon.scheme,
          "Type of the float weights of the models given with --model: fp32 or bf16 (default: "
          "fp32); quantized models keep theirs")
      .TypeName("SCHEME");
  command
      .AddOption("--state-type", daemon.state_type,
                 "Type of the states of the models given with --model: fp32, bf16 or int8 "
                 "(default: the type of the weights for a transformer, fp32 for a Mamba). A Mamba "
                 "with float weights always has fp32")
      .TypeName("TYPE");
  command.AddOption("--listen", daemon.listen, "The gRPC address; port 0 takes a free one")
      .ShowDefault();
  command
      .AddOption("--http", daemon.http, "The address of /metrics, /healthz, /readyz and /console")
      .ShowDefault();
  command
      .AddOption("--console", flags->console,
                 "The page /console, which shows models and jobs and sends prompts: on, off, or "
                 "auto, on if --http is a loopback address")
      .Choices({"on", "off", "auto"})
      .ShowDefault();
  command
      .AddOption("--console-host", daemon.console_hosts,
                 "A further host name under which browsers reach the console; repeatable")
      .TypeName("HOST");
  command.AddFlag("--insecure-listen", daemon.insecure_listen,
                  "Allows addresses that other machines can reach, although nothing is encrypted");
  command
      .AddOption("--tokens", daemon.access.tokens,
                 "File of the tokens that callers need; 'whipsnake token create' adds one. Without "
                 "it, everyone who reaches a port may do everything")
      .TypeName("FILE");
  command
      .AddOption("--tls-cert", daemon.access.tls.certificate,
                 "Certificate of the server, then those that lead to its authority, in PEM: both "
                 "ports speak TLS")
      .TypeName("FILE");
  command.AddOption("--tls-key", daemon.access.tls.key, "Private key of --tls-cert, in PEM")
      .TypeName("FILE");
  command
      .AddOption("--tls-client-ca", daemon.access.tls.client_ca,
                 "Certificates of authorities, in PEM: clients need a certificate of one of them")
      .TypeName("FILE");
  command
      .AddFlag("--reflection", flags->reflection,
               "Offers gRPC server reflection, which asks for no token, on a server with tokens; a "
               "server without tokens offers it anyway")
      .Excludes(command.AddFlag("--no-reflection", flags->no_reflection,
                                "Turns gRPC server reflection off"));
  command.AddOption("--threads", daemon.threads, "Compute threads; 0: all available").ShowDefault();
  command
      .AddOption("--memory-fraction", daemon.memory_fraction,
                 "Fraction of the memory that models may use")
      .ShowDefault();
  command
      .AddOption("--max-connections", daemon.max_connections,
                 "Maximum number of gRPC connections; smaller if the limit of open files is low")
      .ShowDefault();
  command
      .AddOption("--rpc-buffer-bytes", daemon.rpc_buffer_bytes,
                 "Memory for gRPC's buffers; 0: a sixteenth of the memory, 32 to 256 MiB")
      .ByteSize()
      .ShowDefault();
  command.AddOption("--max-prompt-tokens", daemon.limits.prompt_tokens, "Maximum per request")
      .ShowDefault();
  command.AddOption("--max-new-tokens", daemon.limits.new_tokens, "Maximum per request")
      .ShowDefault();
  engine::BatcherOptions& batching = daemon.generator.batching;
  command
      .AddOption("--max-running", batching.max_running,
                 "Maximum number of running sequences of a model")
      .ShowDefault();
  command
      .AddOption("--max-waiting", batching.max_waiting,
                 "Maximum number of requests that wait for a model; further ones are refused")
      .ShowDefault();
  command
      .AddOption("--max-waiting-tokens", batching.max_waiting_tokens,
                 "Prompt tokens that may wait for a model")
      .ShowDefault();
  command
      .AddOption("--prefill-chunk", batching.prefill_chunk_tokens,
                 "Prompt tokens of a step in which no sequence generates")
      .ShowDefault();
  command
      .AddOption("--mixed-chunk", batching.mixed_chunk_tokens,
                 "Prompt tokens of a step in which other sequences generate; fewer delay those "
                 "sequences less")
      .ShowDefault();
  command
      .AddOption("--state-cache-bytes", daemon.generator.cache.max_bytes,
                 "Memory per model for the prefix cache; 0 turns the cache off")
      .ByteSize()
      .ShowDefault();
  command
      .AddOption("--state-cache-interval", daemon.generator.cache.interval_tokens,
                 "A state is cached about every so many tokens of a sequence, and at its end")
      .Positive()
      .ShowDefault();
  command
      .AddOption("--max-unread-tokens", daemon.generator.max_unread_tokens,
                 "A request whose client leaves more tokens than this unread is cancelled")
      .ShowDefault();
  command
      .AddOption("--training-share", daemon.training_share,
                 "Part of the computing time, above 0 and at most 0.9, that training and "
                 "quantization get while requests are served")
      .ShowDefault();
  command
      .AddOption("--data", daemon.data,
                 "Directory for what survives a restart: saved states, data sets, jobs, versions "
                 "of models (default: none)")
      .TypeName("DIR");
  command
      .AddOption("--max-dataset-bytes", daemon.jobs.datasets.max_dataset_bytes,
                 "Maximum size of a data set")
      .ByteSize()
      .ShowDefault();
  command
      .AddOption("--dataset-quota-bytes", daemon.jobs.datasets.max_total_bytes,
                 "Maximum size of all data sets together")
      .ByteSize()
      .ShowDefault();
  command
      .AddOption("--max-running-jobs", daemon.jobs.jobs.max_running,
                 "Maximum number of jobs that run at once, if there is memory for them")
      .IntegerRange(1, 64)
      .ShowDefault();
  command
      .AddOption("--checkpoint-interval", flags->checkpoint_seconds,
                 "Seconds of fine-tuning that a crash costs at most, and a step: without another "
                 "checkpoint for so long, a job writes one")
      .RealRange(0.1, 86'400.0)
      .ShowDefault();
  command
      .AddOption(
          "--job-retry-delay", flags->retry_seconds,
          "Seconds from the failure of a job that may pass, or a crash, to its next attempt; "
          "doubles with each further one, to 10 minutes")
      .RealRange(0.0, 600.0)
      .ShowDefault();
  command
      .AddOption("--grace-period", flags->grace_seconds,
                 "Seconds that running requests have to finish after SIGTERM")
      .ShowDefault()
      .RealRange(0.0, 3600.0);
  command.AddFlag("--log-json", flags->log_json, "Logs JSON objects to stderr, one per line");
}

}  // namespace whipsnake::server
