// The options of the daemon, which the configuration (server/config) fills in, and their checks.
#ifndef WHIPSNAKE_SERVER_DAEMON_OPTIONS_H_
#define WHIPSNAKE_SERVER_DAEMON_OPTIONS_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/field_errors.h"
#include "engine/base/training_share.h"
#include "engine/generate/generation_parameters.h"
#include "engine/generate/generator.h"
#include "server/access/access.h"
#include "server/jobs/job_system.h"
#include "server/listen_address.h"
#include "server/logging.h"
#include "server/registry/model_loader.h"
#include "server/registry/model_registry.h"
#include "server/registry/quantizer.h"
#include "server/registry/state_store.h"

namespace whipsnake::server {

// A model that the operator names.
struct NamedModel {
  std::string name;
  std::string directory;
  // Its own scheme and type of states. "": those of DaemonOptions, if the model supports them.
  std::string scheme = {};
  std::string state_type = {};
  bool preload = true;            // loaded at startup
  std::string place = "--model";  // where it is configured, for errors
};

struct DaemonOptions {
  std::string listen = "127.0.0.1:8500";  // gRPC; port 0 takes a free one
  std::string http = "127.0.0.1:8501";    // or "off"
  mode_t socket_mode = 0660;              // permissions of the files of Unix sockets
  // Allows addresses that other machines can reach, without TLS.
  bool insecure_listen = false;
  AccessOptions access;
  // Whether the HTTP port has the console. Default: if its address is a loopback address.
  std::optional<bool> console;
  std::vector<std::string> console_hosts;  // see ConsoleGuard
  std::vector<NamedModel> models;          // those to preload are loaded at startup, in this order
  // Whether to serve the other models if one of `models` is missing or cannot be loaded.
  bool allow_missing = false;
  // Options for those of `models` that support them; the log names the models that do not. Empty:
  // the model's default.
  std::string scheme;      // of float weights, fp32 or bf16
  std::string state_type;  // fp32, bf16 or int8
  std::string model_root;  // empty: clients cannot load models
  int threads = 0;         // 0: as many as the affinity mask and cgroup allow
  // The part of the computing time that training and quantization get while requests are served.
  double training_share = engine::kDefaultTrainingShare;
  double memory_fraction = 0.9;    // of the cgroup's memory, for the engine
  int64_t max_connections = 1024;  // of gRPC; fewer if the limit of open files is low
  // Memory for the requests and responses that gRPC buffers. 0: a sixteenth of the memory, 32 to
  // 256 MiB.
  int64_t rpc_buffer_bytes = 0;
  engine::GenerationLimits limits;
  engine::GeneratorOptions generator;
  std::string data;          // directory for data that outlives the process; empty: none is kept
  StateStoreOptions states;  // except the directory, which is inside `data`
  JobSystemOptions jobs;
  std::chrono::milliseconds upload_stall_timeout{60'000};  // see DatasetServiceEnvironment
  std::chrono::milliseconds grace_period{25'000};
  // The server pings a connection that has been silent for keepalive_interval. If no answer comes
  // within keepalive_timeout, it closes the connection and cancels its requests.
  std::chrono::milliseconds keepalive_interval{20'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  // How long a client may take to read the rest of a stream and the end of a call.
  std::chrono::milliseconds end_timeout{30'000};
  LogLevel log_level = LogLevel::kInfo;
  bool log_json = false;
  ModelLoader loader;   // null: loads model directories; tests set fakes here
  Quantizer quantizer;  // null: quantizes model directories; tests set fakes here
  // Reads the options again, for Daemon::Reload. Null: there is nothing to read.
  std::function<absl::StatusOr<DaemonOptions>()> read_again;
};

// Bounds of rpc_buffer_bytes.
inline constexpr int64_t kMinRpcBufferBytes = 32 << 20, kMaxRpcBufferBytes = 256 << 20;
// With a larger training_share, requests would stop while a job trains.
inline constexpr double kMaxTrainingShare = 0.9;

// Returns all that is wrong with the options, without changing anything. The field of each fault is
// the flag, or NamedModel::place. Only if there is no `loader` are the directories of the models
// looked at.
std::vector<engine::FieldViolation> FindFaults(const DaemonOptions& options);

// The following expect options without faults.
ListenAddress GrpcAddress(const DaemonOptions& options);
std::optional<ListenAddress> HttpAddress(const DaemonOptions& options);  // nullopt: off
// The models to load at startup. Logs which of the options for all models do not apply to them.
std::vector<ModelSource> StartupModels(const DaemonOptions& options);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DAEMON_OPTIONS_H_
