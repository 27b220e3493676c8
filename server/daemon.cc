#include "server/daemon.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/atomic_file.h"
#include "engine/base/resources.h"
#include "engine/base/status.h"
#include "kernels/cpu/isa.h"
#include "kernels/cuda/built.h"
#include "server/access/exposure.h"
#include "server/config/config.h"
#include "server/disk_errors.h"
#include "server/guarded.h"
#include "server/logging.h"
#include "server/request_size.h"
#include "server/rpc/admission.h"
#include "server/rpc/call_context.h"
#include "server/rpc/call_log.h"
#include "server/rpc/end_timeout.h"
#include "server/rpc/reflection.h"
#include "server/rpc/rpc_metrics.h"
#include "server/rpc/tls_credentials.h"
#include "server/store/sqlite_store.h"
#include "server/version.h"

namespace whipsnake::server {
namespace {

// A request is text or token ids, and 4 MiB is more than the prompt limit allows.
constexpr int kMaxConcurrentStreams = 256;  // per connection
// From accepting the connection to receiving the client's first HTTP/2 settings.
constexpr int kHandshakeTimeoutMs = 10'000;
// Clients may send keepalive pings during a long silent prefill at most this often.
constexpr int kMinPingIntervalMs = 10'000;
// The most concurrent loads and unloads by clients.
constexpr int kMaxBackgroundTasks = 8;
constexpr TaskPoolOptions kCompilePool = {.name = "compile",
                                          .threads = 2,
                                          .max_waiting = 64,
                                          .low_priority = true,
                                          .purpose = "to compile their structured output",
                                          .full_reason = "COMPILE_QUEUE_FULL"};
// Receives uploads of data sets. Only calls that were accepted before wait for it.
constexpr TaskPoolOptions kDatasetPool = {
    .name = "datasets", .threads = 4, .max_waiting = 0, .low_priority = false};
// Time for the engine to notice that a call was aborted; it checks between steps.
constexpr std::chrono::seconds kAbortTime{5};
// Time for the remaining calls: probes, and health watches, which never end by themselves.
constexpr std::chrono::milliseconds kShutdownTime{100};

// How often the queue of calls about jobs wakes up without a call.
constexpr std::chrono::hours kJobCallsPeriod{1};

constexpr int kServiceUnavailable = 503;

constexpr const char* kServices[] = {
    "whipsnake.v1.GenerationService", "whipsnake.v1.StateService",
    "whipsnake.v1.ModelService",      "whipsnake.v1.DatasetService",
    "whipsnake.v1.FineTuningService", "whipsnake.v1.AdminService"};
constexpr const char* kStandardServices[] = {"grpc.health.v1.Health",
                                             "grpc.reflection.v1alpha.ServerReflection"};

std::vector<std::string> AllServices() {
  std::vector<std::string> names(std::begin(kServices), std::end(kServices));
  names.insert(names.end(), std::begin(kStandardServices), std::end(kStandardServices));
  return names;
}

void WarnOfExposure(const ListenAddress& address, std::string_view flag,
                    const AccessOptions& access) {
  const std::string open = DescribeExposure(address, access);
  if (open.empty()) return;
  Log(LogLevel::kWarning, "other machines can reach this port",
      {{"flag", std::string(flag)}, {"address", address.ToString()}, {"open", open}});
}

// Removes what killed quantizations left below the model root.
void SweepModelRoot(const std::string& root) {
  if (root.empty()) return;
  for (const std::string& path : engine::SweepTemporaries(root, /*deep=*/true)) {
    Log(LogLevel::kInfo, "removed files of an interrupted quantization", {{"path", path}});
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(DaemonOptions options) {
  // Debian builds Abseil with its check for lock orders, which ends the process if two of gRPC's
  // own locks have ever been taken in both orders, as when an alarm cancels a call.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  if (const auto faults = FindFaults(options); !faults.empty()) {
    return engine::InvalidFields(faults);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Access> access, Access::Open(options.access));
  const std::vector<ModelSource> sources = StartupModels(options);
  const ListenAddress grpc = GrpcAddress(options);
  const std::optional<ListenAddress> http = HttpAddress(options);
  WarnOfExposure(grpc, "--listen", options.access);
  if (http) WarnOfExposure(*http, "--http", options.access);
  ASSIGN_OR_RETURN(DataDirectory data, DataDirectory::Open(options.data));
  options.states.directory = data.states();
  SweepModelRoot(options.model_root);

  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, SqliteStore::Open(data.store()));
  const Budget budget = MakeBudget(options);
  std::unique_ptr<Daemon> daemon(
      new Daemon(std::move(options), std::move(access), std::move(data), std::move(store), budget));
  RETURN_IF_ERROR(daemon->states_.Open());
  // Registers all models, as LOADING, before the first one is loaded, and before jobs and
  // validations that go on look for them.
  ASSIGN_OR_RETURN(std::vector<std::string> keys, daemon->versions_.Open(sources));
  RETURN_IF_ERROR(daemon->OpenJobs());
  RETURN_IF_ERROR(daemon->StartGrpc(grpc));
  RETURN_IF_ERROR(daemon->StartHttp(http));
  Log(LogLevel::kInfo, "started",
      {{"version", std::string(Version())},
       {"grpc", daemon->grpc_address()},
       {"http", daemon->http_address()},
       {"threads", budget.threads},
       {"isa", std::string(kernels::Name(kernels::ActiveIsa()))},
       {"memory_limit_bytes", budget.engine_bytes},
       {"rpc_buffer_bytes", budget.rpc_buffer_bytes},
       {"max_connections", budget.connections.grpc}});
  daemon->loading_ = std::thread(&Daemon::LoadStartupModels, daemon.get(), std::move(keys));
  return daemon;
}

Daemon::Budget Daemon::MakeBudget(const DaemonOptions& options) {
  const engine::Resources resources = engine::DetectResources();
  Budget budget;
  budget.threads = options.threads > 0 ? options.threads : resources.threads;
  budget.rpc_buffer_bytes =
      options.rpc_buffer_bytes > 0
          ? options.rpc_buffer_bytes
          : std::clamp(resources.memory_bytes / 16, kMinRpcBufferBytes, kMaxRpcBufferBytes);
  const auto fraction =
      static_cast<int64_t>(static_cast<double>(resources.memory_bytes) * options.memory_fraction);
  // At least one byte, however little memory there is: 0 would mean no limit.
  budget.engine_bytes =
      std::max<int64_t>(std::min(fraction, resources.memory_bytes - budget.rpc_buffer_bytes), 1);
  budget.connections = DivideOpenFiles(OpenFileLimit(), options.max_connections);
  return budget;
}

Daemon::Daemon(DaemonOptions options, std::unique_ptr<Access> access, DataDirectory data,
               std::unique_ptr<Store> store, const Budget& budget)
    : options_(std::move(options)),
      budget_(budget),
      access_(std::move(access)),
      access_files_([this] { access_->ReloadIfChanged(); }, options_.access.poll_interval,
                    "access"),
      data_(std::move(data)),
      store_(std::move(store)),
      ledger_(budget.engine_bytes),
      executor_(budget.threads, {.training_share = options_.training_share}),
      states_(options_.states, &ledger_),
      models_(options_.loader ? options_.loader
                              : MakeDirectoryLoader({&executor_, &ledger_}, options_.generator),
              metrics_,
              [this](const std::string& name, std::optional<ModelState> state) {
                OnModelState(name, state);
              }),
      versions_(data_.models().empty() ? nullptr : store_.get(), &models_,
                {.directory = data_.models(),
                 .model_root = options_.model_root,
                 .job_with =
                     [this](const std::string& key, const std::string& directory) {
                       return jobs_.JobWithModel(key, directory);
                     }}),
      background_(kMaxBackgroundTasks),
      compile_pool_(kCompilePool),
      limits_(options_.limits),
      jobs_(data_, options_.jobs,
            {store_.get(), &executor_, &ledger_, &models_, &versions_, &metrics_,
             options_.model_root, options_.quantizer}),
      dataset_pool_(kDatasetPool),
      job_calls_([] {}, kJobCallsPeriod, "jobs"),
      generation_{&models_, &active_calls_, &states_,
                  &limits_, &compile_pool_, options_.end_timeout},
      generation_service_(generation_),
      state_service_(generation_),
      dataset_service_({.datasets = jobs_.datasets(),
                        .disk = &job_calls_,
                        .pool = &dataset_pool_,
                        .places = {.now = options_.jobs.datasets.now},
                        .stall_timeout = options_.upload_stall_timeout}),
      admin_service_(
          {&metrics_, &ledger_, &active_calls_, budget.threads, start_time_,
           [this](std::optional<std::chrono::milliseconds> grace) { RequestDrain(grace); }}),
      grace_(options_.grace_period),
      in_force_(options_) {
  RegisterComputedMetrics();
  RegisterLogMetrics();
  RegisterDiskMetrics();
}

Daemon::~Daemon() {
  RequestDrain(std::chrono::milliseconds(0));
  Wait();
}

absl::Status Daemon::OpenJobs() {
  RETURN_IF_ERROR(jobs_.Open());
  model_service_ =
      std::make_unique<ModelService>(ModelServiceEnvironment{.models = &models_,
                                                             .versions = &versions_,
                                                             .active_calls = &active_calls_,
                                                             .background = &background_,
                                                             .jobs = &jobs_.jobs(),
                                                             .disk = &job_calls_,
                                                             .model_root = options_.model_root,
                                                             .limits = &limits_,
                                                             .end_timeout = options_.end_timeout});
  fine_tuning_service_ = std::make_unique<FineTuningService>(FineTuningEnvironment{
      .jobs = &jobs_.jobs(),
      .kind = jobs_.fine_tuning(),
      .disk = &job_calls_,
      .background = &background_,
      .active_calls = &active_calls_,
      .promoter = jobs_.promoter(),
      .find_dataset = [this](const std::string& id) { return jobs_.FindDataset(id); },
      .find_model = [this](const std::string& model) { return jobs_.FindModel(model); },
      .end_timeout = options_.end_timeout});
  return absl::OkStatus();
}

void Daemon::RegisterComputedMetrics() {
  metrics_.build_info
      .With({std::string(Version()), std::string(Commit()),
             std::string(kernels::Name(kernels::ActiveIsa())),
             kernels::cuda::Built() ? "yes" : "no"})
      .Set(1);
  Show(metrics_.device_memory_used, {"cpu"}, [this] { return ledger_.used(); });
  for (int i = 0; i < engine::kPurposeCount; ++i) {
    const auto purpose = static_cast<engine::Purpose>(i);
    Show(metrics_.device_memory_purpose, {"cpu", std::string(engine::Name(purpose))},
         [this, purpose] { return ledger_.used(purpose); });
  }
  Show(metrics_.device_memory_limit, {"cpu"}, [this] { return ledger_.limit(); });
  const auto seconds = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
  };
  Show(metrics_.finetune_preemptions, {"serving"}, [this] { return executor_.interruptions(); });
  Show(metrics_.compute_time, {"serving"},
       [this, seconds] { return seconds(executor_.serving_time()); });
  Show(metrics_.compute_time, {"training"},
       [this, seconds] { return seconds(executor_.training_time()); });
  Show(metrics_.saved_states, {}, [this] { return states_.states(); });
  Show(metrics_.saved_state_bytes, {"memory"}, [this] { return states_.memory_bytes(); });
  Show(metrics_.saved_state_bytes, {"disk"}, [this] { return states_.disk_bytes(); });
  DatasetStore* const datasets = jobs_.datasets();
  if (datasets == nullptr) return;
  Show(metrics_.dataset_bytes, {}, [datasets] { return datasets->bytes(); });
  const std::pair<const char*, v1::DatasetState> states[] = {
      {"uploading", v1::DATASET_STATE_UPLOADING},
      {"validating", v1::DATASET_STATE_VALIDATING},
      {"ready", v1::DATASET_STATE_READY},
      {"invalid", v1::DATASET_STATE_INVALID}};
  for (const auto& [name, state] : states) {
    Show(metrics_.datasets, {name}, [datasets, value = state] { return datasets->count(value); });
  }
}

void Daemon::RegisterLogMetrics() {
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    Show(metrics_.log_lines, {std::string(Name(level))}, [level] { return LogLines(level); });
  }
  Show(metrics_.log_lines_dropped, {}, LogLinesDropped);
  for (int i = 0; i < kDiskErrorKinds; ++i) {
    const auto kind = static_cast<DiskErrorKind>(i);
    Show(metrics_.disk_errors, {std::string(Name(kind))}, [kind] { return DiskErrors(kind); });
  }
}

void Daemon::RegisterDiskMetrics() {
  if (data_.states().empty()) return;  // there is no data directory
  using Part = DataDirectoryUsage::Part;
  const DataDirectoryUsage& usage = disk_usage_.emplace(data_);
  Show(metrics_.data_directory_size, {}, [&usage] { return usage.size_bytes(); });
  Show(metrics_.data_directory_free, {}, [&usage] { return usage.free_bytes(); });
  for (int i = 0; i < DataDirectoryUsage::kParts; ++i) {
    const auto part = static_cast<Part>(i);
    Show(metrics_.data_directory_used, {std::string(DataDirectoryUsage::NameOf(part))},
         [&usage, part] { return usage.used_bytes(part); });
  }
}

absl::Status Daemon::StartGrpc(const ListenAddress& address) {
  ASSIGN_OR_RETURN(grpc_acceptor_,
                   Acceptor::Listen(address, {.name = "grpc",
                                              .max_connections = budget_.connections.grpc,
                                              .at_limit = Acceptor::AtLimit::kRefuse,
                                              .dead_after = options_.keepalive_timeout,
                                              .socket_mode = options_.socket_mode}));
  RegisterConnectionMetrics("grpc", *grpc_acceptor_, budget_.connections.grpc);
  SetServing(false);
  grpc::ServerBuilder builder;
  builder.SetOption(
      MakeReflection(options_.access.reflection.value_or(!access_->control().has_tokens())));
  using ExternalConnections = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  external_acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      ExternalConnections::FROM_FD, access_->certificates() == nullptr
                                        ? grpc::InsecureServerCredentials()
                                        : MakeTlsCredentials(*access_->certificates()));
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("rpc").Resize(budget_.rpc_buffer_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                             static_cast<int>(options_.keepalive_interval.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             static_cast<int>(options_.keepalive_timeout.count()));
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeCallLog(AllServices()));
  interceptors.push_back(MakeRpcMetrics(metrics_, AllServices()));
  interceptors.push_back(MakeAdmission(access_->control(), AllServices()));
  interceptors.push_back(MakeEndTimeouts(options_.end_timeout));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  builder.SetContextAllocator(MakeCallContexts());
  builder.RegisterService(&health_);
  builder.RegisterService(&generation_service_);
  builder.RegisterService(&state_service_);
  builder.RegisterService(model_service_.get());
  builder.RegisterService(&dataset_service_);
  builder.RegisterService(fine_tuning_service_.get());
  builder.RegisterService(&admin_service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::InternalError("gRPC's server did not start");
  grpc_acceptor_->Start([this](int descriptor, const sockaddr*, socklen_t) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = descriptor;
    external_acceptor_->HandleNewConnection(&connection);
  });
  return absl::OkStatus();
}

absl::Status Daemon::StartHttp(const std::optional<ListenAddress>& address) {
  if (!address) return absl::OkStatus();
  HttpRoutes routes = Routes();
  if (options_.console.value_or(address->IsLoopback())) StartConsole(*address, routes);
  ASSIGN_OR_RETURN(http_, HttpServer::Start(*address, std::move(routes), budget_.connections.http,
                                            {.access = &access_->control(),
                                             .certificates = access_->certificates()},
                                            options_.socket_mode));
  RegisterConnectionMetrics("http", http_->acceptor(), budget_.connections.http);
  return absl::OkStatus();
}

void Daemon::StartConsole(const ListenAddress& address, HttpRoutes& routes) {
  console_ = std::make_unique<Console>(
      address, ConsoleOptions{.hosts = options_.console_hosts},
      ConsoleSources{.models = &models_,
                     .jobs = &jobs_.jobs(),
                     .ledger = &ledger_,
                     .active_calls = &active_calls_,
                     .start_time = start_time_,
                     .threads = budget_.threads,
                     .fine_tuning = jobs_.fine_tuning() != nullptr},
      &job_calls_,
      v1::GenerationService::NewStub(server_->InProcessChannel(grpc::ChannelArguments())));
  console_->AddRoutes(routes);
}

void Daemon::RegisterConnectionMetrics(const std::string& port, const Acceptor& acceptor,
                                       int64_t limit) {
  Show(metrics_.connections, {port}, [&acceptor] { return acceptor.connections(); });
  Show(metrics_.connections_limit, {port}, [limit] { return limit; });
  Show(metrics_.connections_turned_away, {port}, [&acceptor] { return acceptor.turned_away(); });
}

HttpRoutes Daemon::Routes() {
  HttpRoutes routes;
  routes["/"] = GetRoute(Scope::kOpen, [this](const HttpRequest&) {
    return HttpResponse{.body = "whipsnake " + std::string(Version()) +
                                "\n\n"
                                "/metrics  for Prometheus\n"
                                "/healthz  whether the process is alive\n"
                                "/readyz   whether every model of the start is ready\n" +
                                (console_ != nullptr ? "/console  a page for people\n" : "")};
  });
  routes["/healthz"] = GetRoute(Scope::kOpen, [this](const HttpRequest&) { return Liveness(); });
  routes["/readyz"] = GetRoute(Scope::kOpen, [this](const HttpRequest&) { return Readiness(); });
  routes["/metrics"] = GetRoute(Scope::kAnyToken, [this](const HttpRequest&) {
    return HttpResponse{.body = metrics_.registry.Text(),
                        .content_type = "text/plain; version=0.0.4; charset=utf-8"};
  });
  return routes;
}

HttpResponse Daemon::Liveness() {
  if (grpc_acceptor_->is_listening()) return {.body = "ok\n"};
  return {kServiceUnavailable, "the gRPC port stopped listening\n"};
}

HttpResponse Daemon::Readiness() {
  if (active_calls_.closed()) return {kServiceUnavailable, "draining\n"};
  const std::string reason = models_.NotReadyReason();
  if (!reason.empty()) return {kServiceUnavailable, reason + "\n"};
  return {.body = "ready\n"};
}

void Daemon::LoadStartupModels(const std::vector<std::string>& keys) {
  absl::Status error;
  for (const std::string& key : keys) {
    if (active_calls_.closed() || !error.ok()) break;
    // The registry stores and logs the error.
    RunGuarded("loading", [&] { error = FatalError(key, models_.Load(key)); });
  }
  if (error.ok()) {
    jobs_.Start();  // now that the models have their memory
    SetServing(true);
  }
  engine::MutexLock lock(mutex_);
  loaded_ = true;
  load_error_ = error;
  changed_.NotifyAll();
}

absl::Status Daemon::FatalError(const std::string& key, const absl::Status& loaded) const {
  if (loaded.ok() || options_.allow_missing) return absl::OkStatus();
  const auto model = std::ranges::find(options_.models, key, &NamedModel::name);
  // Versions that clients have promoted do not keep the others from serving.
  if (model == options_.models.end()) return absl::OkStatus();
  return engine::WithContext(loaded,
                             absl::StrCat(model->place, ": ", key,
                                          " cannot be loaded (--allow-missing serves without it)"));
}

absl::Status Daemon::WaitUntilLoaded() {
  engine::MutexLock lock(mutex_);
  while (!loaded_ && !drain_requested_) changed_.Wait(mutex_);
  return load_error_;
}

std::string Daemon::http_address() const {
  return http_ == nullptr ? "off" : http_->acceptor().address().ToString();
}

void Daemon::Reload() {
  access_->Reload();
  if (options_.read_again == nullptr) return;
  const absl::StatusOr<DaemonOptions> wanted = options_.read_again();
  if (!wanted.ok()) {
    Log(LogLevel::kError, "the configuration is not reloaded; the values before stay",
        {{"reason", std::string(wanted.status().message())}});
    return;
  }
  engine::MutexLock lock(reload_mutex_);
  const LogLevel before = in_force_.log_level;
  const ConfigChanges changes = ApplyLiveSettings(*wanted, in_force_);
  limits_.Set(in_force_.limits);
  const engine::BatcherOptions& batching = in_force_.generator.batching;
  models_.SetQueueLimits({batching.max_waiting, batching.max_waiting_tokens});
  SetLogLevel(std::min(before, in_force_.log_level));  // so that the line is written
  Log(LogLevel::kInfo, "the configuration is reloaded",
      {{"changed", absl::StrJoin(changes.live, ", ")},
       {"needs_restart", absl::StrJoin(changes.restart, ", ")}});
  SetLogLevel(in_force_.log_level);
}

void Daemon::SetServing(bool serving) {
  health_.Set("", serving);
  for (const char* service : kServices) health_.Set(service, serving);
}

void Daemon::OnModelState(const std::string& name, std::optional<ModelState> state) {
  if (state) {
    health_.Set("model/" + name, *state == ModelState::kReady);
  } else {
    health_.Remove("model/" + name);
  }
}

void Daemon::RequestDrain(std::optional<std::chrono::milliseconds> grace) {
  engine::MutexLock lock(mutex_);
  if (std::exchange(drain_requested_, true)) return;
  if (grace) grace_ = *grace;
  active_calls_.Close();
  jobs_.Close();
  job_calls_.Close();
  states_.Close();
  dataset_service_.Close();
  metrics_.draining.With({}).Set(1);
  health_.ShutDown();
  Log(LogLevel::kInfo, "draining",
      {{"grace_seconds", std::chrono::duration<double>(grace_).count()}});
  changed_.NotifyAll();
}

void Daemon::Wait() {
  using std::chrono::steady_clock;
  std::chrono::milliseconds grace;
  {
    engine::MutexLock lock(mutex_);
    while (!drain_requested_) changed_.Wait(mutex_);
    if (std::exchange(stopped_, true)) return;
    grace = grace_;
  }
  if (!active_calls_.WaitUntilIdle(steady_clock::now() + grace)) {
    Log(LogLevel::kWarning, "the grace period is over; the remaining requests are stopped");
    active_calls_.AbortAll();
    active_calls_.WaitUntilIdle(steady_clock::now() + kAbortTime);
  }
  dataset_service_.WaitUntilIdle(steady_clock::now() + kAbortTime);
  // Before the server, so that watchers see the end.
  if (loading_.joinable()) loading_.join();
  jobs_.Stop();
  if (grpc_acceptor_ != nullptr) grpc_acceptor_->Stop();
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kShutdownTime);
  http_.reset();
  Log(LogLevel::kInfo, "stopped");
}

}  // namespace whipsnake::server
