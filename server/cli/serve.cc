// `whipsnake serve`: the daemon.
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "engine/base/status.h"
#include "server/cli/command.h"
#include "server/cli/serve_flags.h"
#include "server/config/config.h"
#include "server/config/setting.h"
#include "server/daemon.h"
#include "server/guarded.h"
#include "server/logging.h"
#include "server/open_files.h"
#include "server/rpc/grpc_log.h"
#include "server/signals.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<DaemonOptions> ReadOptions(const ConfigSources& sources, ConfigChecks checks) {
  Config config = ReadConfig(sources, checks);
  RETURN_IF_ERROR(config.status());
  return std::move(config.options);
}

void StartLogging(const DaemonOptions& options) {
  InitLogging(options.log_json ? LogFormat::kJson : LogFormat::kText);
  SetLogLevel(options.log_level);
  SendGrpcLogToOurs();
  for (const Setting& setting : Settings()) {
    Log(LogLevel::kDebug, "setting",
        {{"field", setting.field}, {"value", setting.get(options).dump()}});
  }
}

// Prints one line that scripts wait for. By then the models have been loaded.
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
  SignalWatcher signals;  // before any thread
  const ConfigSources sources = flags.Sources();
  ASSIGN_OR_RETURN(DaemonOptions options, ReadOptions(sources, ConfigChecks::kEverything));
  options.read_again = [sources] { return ReadOptions(sources, ConfigChecks::kValues); };
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe on our output must not end the daemon
  std::signal(SIGXFSZ, SIG_IGN);  // nor must a limit on the size of files, which write() reports
  StartLogging(options);
  RaiseOpenFileLimit();
  ASSIGN_OR_RETURN(const std::unique_ptr<Daemon> daemon, Daemon::Start(std::move(options)));
  signals.Start([&daemon] { daemon->RequestDrain(); },
                [&daemon] { RunGuarded("reload", [&] { daemon->Reload(); }); });
  const absl::Cleanup stop = [&signals] { signals.Stop(); };  // before the daemon goes
  RETURN_IF_ERROR(daemon->WaitUntilLoaded());
  PrintListening(*daemon, output);
  daemon->Wait();
  return 0;
}

}  // namespace

void AddServeCommand(CommandLine& line) {
  auto flags = std::make_shared<ServeFlags>();
  Command command = line.Add(
      "serve", "Serves models over gRPC, with metrics over HTTP, until SIGTERM or SIGINT",
      "  whipsnake serve --model demo=deploy/models/mamba-demo\n"
      "  whipsnake serve --model-root /srv/models --listen 0.0.0.0:8500 --insecure-listen\n"
      "  whipsnake serve --config /etc/whipsnake/serve.json --log-level debug\n",
      [flags](const Output& output) { return Serve(*flags, output); });
  command
      .AddOption("--config", flags->config,
                 "A JSON file with the options: --max-running is the field max_running there, and "
                 "the variable WHIPSNAKE_MAX_RUNNING. Variables override the file, and flags both. "
                 "SIGHUP has it read again")
      .Environment("WHIPSNAKE_CONFIG")
      .TypeName("FILE");
  AddServeFlags(command, *flags);
}

}  // namespace whipsnake::server
