// Shared by the server's tests: a daemon on free loopback ports, with fake models that a test can
// hold at each step, and readers of error details.
#ifndef WHIPSNAKE_TESTS_SERVER_SUPPORT_H_
#define WHIPSNAKE_TESTS_SERVER_SUPPORT_H_

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/daemon.h"
#include "tests/engine/fakes/fake_model.h"
#include "whipsnake/v1/admin.grpc.pb.h"
#include "whipsnake/v1/generation.grpc.pb.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {

// Blocks threads while it is closed and has no permits, and counts the arrivals.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_ || permits_ > 0; });
    if (!open_) --permits_;
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void Close() {
    std::lock_guard lock(mutex_);
    open_ = false;
  }
  void Permit(int count) {
    std::lock_guard lock(mutex_);
    permits_ += count;
    changed_.notify_all();
  }
  void WaitForArrivals(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int permits_ = 0;
  int arrived_ = 0;
};

// Loads fake models whose tokens are the letters a to z and which continue the alphabet: after "a"
// comes "bcd...", after "z" comes "a". A directory whose name contains "broken" does not load; the
// steps of a model from a directory whose name contains "failing" fail.
struct FakeEngine {
  Gate steps;  // before each forward pass of any model
  Gate loads;  // before each load
  engine::GenerationDefaults defaults;
  // Steps of a fake model take no time, so any reader is slow in comparison.
  engine::GeneratorOptions generator{.max_unread_tokens = std::numeric_limits<int64_t>::max()};
  int64_t max_positions = 0;
  std::string digest;  // of every model

  absl::StatusOr<ModelParts> Load(const std::string& directory, const engine::ModelOptions& options,
                                  engine::GenerationObserver* observer) {
    loads.Pass();
    if (directory.find("broken") != std::string::npos) {
      return absl::InvalidArgumentError(directory + "/model.safetensors: truncated");
    }
    std::vector<std::string> letters;
    for (char letter = 'a'; letter <= 'z'; ++letter) letters.emplace_back(1, letter);
    auto model = std::make_unique<engine::FakeModel>(static_cast<int64_t>(letters.size()));
    model->before_forward = [this](std::span<const engine::Run>) { steps.Pass(); };
    model->mutable_info().scheme = options.scheme.value_or(engine::Scheme::kFp32);
    model->mutable_info().max_positions = max_positions;
    model->mutable_info().weights_bytes = 1000;
    if (directory.find("failing") != std::string::npos) {
      model->error = absl::InternalError("the step failed");
    }
    ModelParts parts;
    parts.digest = digest;
    parts.model = std::move(model);
    parts.tokenizer = std::make_unique<engine::FakeTokenizer>(std::move(letters));
    parts.defaults = defaults;
    parts.constraints = std::make_unique<engine::ConstraintCache>(
        std::make_shared<engine::VocabularyTrie>(*parts.tokenizer, 26));
    auto made =
        engine::MakeGenerator(parts.model.get(), parts.tokenizer.get(), generator, observer);
    if (!made.ok()) return made.status();
    parts.generator = *std::move(made);
    return parts;
  }

  ModelLoader Loader() {
    return
        [this](const std::string& directory, const engine::ModelOptions& options,
               engine::GenerationObserver* observer) { return Load(directory, options, observer); };
  }
};

// Options for a daemon on free ports with one fake model, "alphabet".
inline DaemonOptions FakeOptions(FakeEngine& engine) {
  DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.http = "127.0.0.1:0";
  options.models = {{"alphabet", "/fake/alphabet"}};
  options.threads = 1;
  options.limits.new_tokens = std::numeric_limits<int32_t>::max();
  options.loader = engine.Loader();
  return options;
}

// A running daemon with its models loaded, and clients for it.
class TestServer {
 public:
  explicit TestServer(DaemonOptions options) {
    absl::StatusOr<std::unique_ptr<Daemon>> started = Daemon::Start(std::move(options));
    if (!started.ok()) throw std::runtime_error(started.status().ToString());
    daemon = *std::move(started);
    if (const absl::Status loaded = daemon->WaitUntilLoaded(); !loaded.ok()) {
      throw std::runtime_error(loaded.ToString());
    }
    channel = grpc::CreateChannel(daemon->grpc_address(), grpc::InsecureChannelCredentials());
    generation = v1::GenerationService::NewStub(channel);
    models = v1::ModelService::NewStub(channel);
    admin = v1::AdminService::NewStub(channel);
  }

  std::string Metrics() const {
    grpc::ClientContext context;
    v1::GetMetricsResponse response;
    EXPECT_TRUE(admin->GetMetrics(&context, {}, &response).ok());
    return response.text();
  }

  std::unique_ptr<Daemon> daemon;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::GenerationService::Stub> generation;
  std::unique_ptr<v1::ModelService::Stub> models;
  std::unique_ptr<v1::AdminService::Stub> admin;
};

// Calls a method that may not exist, with one message that may be malformed.
inline grpc::Status CallMethod(const TestServer& server, const std::string& method,
                               const std::string& request, grpc::ClientContext* context) {
  grpc::GenericStub stub(server.channel);
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  const auto call = stub.PrepareUnaryCall(context, method, grpc::ByteBuffer(&slice, 1), &queue);
  grpc::ByteBuffer response;
  grpc::Status status;
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

// A request for greedy text.
inline v1::GenerationParameters Greedy(const std::string& text, int max_new_tokens) {
  v1::GenerationParameters parameters;
  parameters.set_text(text);
  parameters.mutable_sampling()->set_temperature(0);
  parameters.mutable_stopping()->set_max_new_tokens(max_new_tokens);
  return parameters;
}

// Returns the detail of this type, if the status has one.
template <typename Detail>
std::optional<Detail> DetailOf(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return std::nullopt;
  for (const auto& any : rich.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

inline std::string FieldOf(const grpc::Status& status) {
  const auto detail = DetailOf<google::rpc::BadRequest>(status);
  return detail && detail->field_violations_size() == 1 ? detail->field_violations(0).field() : "";
}

inline std::string ReasonOf(const grpc::Status& status) {
  const auto detail = DetailOf<google::rpc::ErrorInfo>(status);
  return detail && detail->domain() == "whipsnake" ? detail->reason() : "";
}

inline bool HasRetry(const grpc::Status& status) {
  const auto detail = DetailOf<google::rpc::RetryInfo>(status);
  return detail && (detail->retry_delay().seconds() > 0 || detail->retry_delay().nanos() > 0);
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_SUPPORT_H_
