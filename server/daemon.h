// The daemon: owns the engine's executor and ledger, the models, the gRPC server and the HTTP
// server, from startup to drain.
#ifndef WHIPSNAKE_SERVER_DAEMON_H_
#define WHIPSNAKE_SERVER_DAEMON_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/generate/generation_parameters.h"
#include "engine/generate/generator.h"
#include "server/acceptor.h"
#include "server/access/access.h"
#include "server/console/console.h"
#include "server/daemon_options.h"
#include "server/datasets/dataset_store.h"
#include "server/http/http_server.h"
#include "server/jobs/job_system.h"
#include "server/live_limits.h"
#include "server/metrics/metrics.h"
#include "server/open_files.h"
#include "server/registry/data_directory.h"
#include "server/registry/data_directory_usage.h"
#include "server/registry/model_loader.h"
#include "server/registry/model_registry.h"
#include "server/registry/model_versions.h"
#include "server/registry/quantizer.h"
#include "server/registry/state_store.h"
#include "server/rpc/active_calls.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/dataset_service.h"
#include "server/rpc/fine_tuning_service.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/health_service.h"
#include "server/rpc/model_service.h"
#include "server/rpc/state_service.h"
#include "server/store/store.h"
#include "server/work/background.h"
#include "server/work/disk_queue.h"
#include "server/work/task_pool.h"

namespace grpc {
class Server;
namespace experimental {
class ExternalConnectionAcceptor;
}  // namespace experimental
}  // namespace grpc

namespace whipsnake::server {

// Start and Wait are called by one thread; all other functions are thread-safe.
class Daemon {
 public:
  // Checks the options, starts to listen, and starts to load the models. Returns INVALID_ARGUMENT
  // with the fields for bad options (FindFaults), FAILED_PRECONDITION if another process uses the
  // data directory or a Unix socket, and UNAVAILABLE if an address is taken. A model that fails to
  // load is an error of WaitUntilLoaded.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(DaemonOptions options);
  // Drains without a grace period, unless a drain has already been done.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // For tests of promotions, which come from fine-tuning.
  ModelVersions& versions() { return versions_; }

  std::string grpc_address() const { return grpc_acceptor_->address().ToString(); }
  // "off" if there is no HTTP port.
  std::string http_address() const;

  // Returns when every model of the options is READY or FAILED, or a drain was requested. Returns
  // the error of the first model that failed, with its name, unless the options allow that; no
  // further model is loaded then, and health stays NOT_SERVING.
  absl::Status WaitUntilLoaded();

  // Reads the options again (DaemonOptions::read_again) and takes over what may change while the
  // server runs: the settings that say so (Setting::reloads). Logs one line with what has changed
  // and what needs a restart, or with why nothing could be read; the values before then stay. Reads
  // the files of tokens and certificates again too. Running calls go on.
  void Reload();

  // Health becomes NOT_SERVING, new requests are refused, jobs stop (they go on at the next start,
  // if there is a data directory), and forks and deletions of saved states that wait are refused;
  // Wait does the rest. `grace` replaces the grace period of the options. Only the first request
  // has an effect.
  void RequestDrain(std::optional<std::chrono::milliseconds> grace = std::nullopt);

  // Waits for RequestDrain, then for running calls to end; calls still running after the grace
  // period are ended with UNAVAILABLE. Then closes the ports.
  void Wait();

 private:
  // The resources that the daemon divides.
  struct Budget {
    int threads = 0;
    int64_t engine_bytes = 0;
    int64_t rpc_buffer_bytes = 0;
    ConnectionLimits connections;
  };
  static Budget MakeBudget(const DaemonOptions& options);

  Daemon(DaemonOptions options, std::unique_ptr<Access> access, DataDirectory data,
         std::unique_ptr<Store> store, const Budget& budget);

  absl::Status OpenJobs();
  absl::Status StartGrpc(const ListenAddress& address);
  absl::Status StartHttp(const std::optional<ListenAddress>& address);
  void RegisterComputedMetrics();
  void RegisterLogMetrics();
  void RegisterDiskMetrics();
  void RegisterConnectionMetrics(const std::string& port, const Acceptor& acceptor, int64_t limit);
  HttpRoutes Routes();
  void StartConsole(const ListenAddress& address, HttpRoutes& routes);
  HttpResponse Liveness();
  HttpResponse Readiness();
  void LoadStartupModels(const std::vector<std::string>& keys);
  // Returns the error of a model of the options that ends the daemon.
  absl::Status FatalError(const std::string& key, const absl::Status& loaded) const;
  void SetServing(bool serving);
  void OnModelState(const std::string& name, std::optional<ModelState> state);

  const DaemonOptions options_;
  const Budget budget_;
  const std::chrono::system_clock::time_point start_time_ = std::chrono::system_clock::now();
  const std::unique_ptr<Access> access_;
  DiskQueue access_files_;  // looks whether the files of access_ have changed
  const DataDirectory data_;
  // In order of dependency: each member may use the ones above it.
  Metrics metrics_;
  std::optional<DataDirectoryUsage> disk_usage_;  // none without a data directory
  const std::unique_ptr<Store> store_;            // in memory if there is no data directory
  engine::Ledger ledger_;
  engine::Executor executor_;
  ActiveCalls active_calls_;
  HealthService health_;
  StateStore states_;
  ModelRegistry models_;
  ModelVersions versions_;
  Background background_;
  TaskPool compile_pool_;
  LiveLimits limits_;
  JobSystem jobs_;
  TaskPool dataset_pool_;  // receives uploads
  DiskQueue job_calls_;    // RPCs about jobs that wait for the disk
  const GenerationEnvironment generation_;
  GenerationService generation_service_;
  StateService state_service_;
  std::unique_ptr<ModelService> model_service_;
  DatasetService dataset_service_;
  std::unique_ptr<FineTuningService> fine_tuning_service_;
  AdminService admin_service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> external_acceptor_;  // to server_
  std::unique_ptr<Acceptor> grpc_acceptor_;
  std::unique_ptr<Console> console_;  // null: off
  std::unique_ptr<HttpServer> http_;  // null: off
  std::thread loading_;

  engine::Mutex mutex_;
  engine::CondVar changed_;
  bool loaded_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status load_error_ ABSL_GUARDED_BY(mutex_);
  bool drain_requested_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::chrono::milliseconds grace_ ABSL_GUARDED_BY(mutex_);

  engine::Mutex reload_mutex_;
  DaemonOptions in_force_ ABSL_GUARDED_BY(reload_mutex_);  // options_ with what reloads changed
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DAEMON_H_
