#include "server/rpc/call_log.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "engine/base/exceptions.h"
#include "engine/base/utf8.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/guarded.h"
#include "server/logging.h"
#include "server/rpc/call_context.h"
#include "server/rpc/call_record.h"
#include "server/rpc/method_names.h"

namespace whipsnake::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

constexpr int kMaxMessageBytes = 512;
constexpr std::string_view kHealthCheck = "grpc.health.v1.Health/Check";

// How a call has ended.
struct CallEnd {
  absl::StatusCode code = absl::StatusCode::kUnknown;
  std::string message;
  std::string reason, field;  // ErrorInfo.reason, and the first field of BadRequest
  std::string caller;         // the name of its token
};

struct CallKind {
  LogLevel level;
  std::string_view message;
};

CallKind KindOf(absl::StatusCode code, std::string_view method) {
  switch (code) {
    case absl::StatusCode::kOk:
      // Probes ask for the health all the time.
      return {method == kHealthCheck ? LogLevel::kDebug : LogLevel::kInfo, "request finished"};
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
      return {LogLevel::kInfo, "request cancelled"};
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnknown:
      return {LogLevel::kError, "request failed"};
    default:
      return {LogLevel::kInfo, "request refused"};
  }
}

// The message of an error is for the client and may quote the request, so only those of the
// server's own failures are logged.
LogFields FieldsOf(const CallRecord& record, std::string_view method, std::string_view peer,
                   const CallEnd& end, double seconds) {
  LogFields fields = {{"request_id", record.request_id}, {"method", std::string(method)}};
  const auto add_text = [&](std::string_view key, std::string_view text) {
    if (!text.empty()) fields.emplace_back(key, std::string(text));
  };
  add_text("caller", end.caller);
  add_text("client", record.client);
  add_text("peer", peer);
  if (!record.trace_parent.empty()) add_text("trace_id", TraceIdOf(record.trace_parent));
  add_text("model", record.model);
  add_text("id", record.id);
  if (const auto& generation = record.generation) {
    fields.emplace_back("prompt_tokens", generation->usage.prompt_tokens);
    fields.emplace_back("cached_prompt_tokens", generation->usage.cached_prompt_tokens);
    fields.emplace_back("generated_tokens", generation->usage.generated_tokens);
    fields.emplace_back("queue_seconds", generation->timings.queue);
    fields.emplace_back("prefill_seconds", generation->timings.prefill);
    fields.emplace_back("time_to_first_token_seconds", generation->timings.time_to_first_token);
    fields.emplace_back("decode_seconds", generation->timings.decode);
    if (generation->reason) add_text("finish_reason", engine::Name(*generation->reason));
  }
  fields.emplace_back("seconds", seconds);
  fields.emplace_back("code", absl::StatusCodeToString(end.code));
  add_text("reason", end.reason);
  add_text("field", end.field);
  if (KindOf(end.code, method).level == LogLevel::kError) add_text("error", end.message);
  return fields;
}

template <typename Detail>
bool Unpack(const google::protobuf::Any& any, Detail* detail) {
  return any.Is<Detail>() && any.UnpackTo(detail);
}

bool IsPrintableAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

class CallLogger : public grpc::experimental::Interceptor {
 public:
  CallLogger(grpc::ServerContextBase* context, std::string_view method)
      : context_(*context), method_(method), record_(std::make_shared<CallRecord>()) {
    if (CallContext* ours = CallContext::Of(context)) ours->set_record(record_);
  }

  // gRPC destroys the interceptors of a call when it is over, however it ended.
  ~CallLogger() override {
    RunGuarded("log", [this] {
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
      const CallKind kind = KindOf(end_.code, method_);
      LogLimited(kind.level, kind.message,
                 FieldsOf(*record_, method_, peer_, end_, seconds.count()), method_);
    });
  }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      engine::CatchExceptions([&] { Begin(); }).IgnoreError();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      engine::CatchExceptions([&] { End(*methods); }).IgnoreError();
    }
    methods->Proceed();
  }

 private:
  std::string_view Metadata(const char* key) const {
    const auto found = context_.client_metadata().find(key);
    if (found == context_.client_metadata().end()) return {};
    return {found->second.data(), found->second.size()};
  }

  void Begin() {
    peer_ = context_.peer();
    const std::string_view id = Metadata(kRequestIdMetadata);
    record_->request_id = IsUsableRequestId(id) ? std::string(id) : GenerateRequestId();
    const std::string_view trace_parent = Metadata(kTraceParentMetadata);
    if (IsTraceParent(trace_parent)) record_->trace_parent = std::string(trace_parent);
  }

  void End(InterceptorBatchMethods& methods) {
    const grpc::Status status = methods.GetSendStatus();
    end_.code = static_cast<absl::StatusCode>(status.error_code());
    end_.caller = CallerOf(&context_).name;
    auto* const metadata = methods.GetSendTrailingMetadata();
    // HTTP/2 allows no other values.
    if (IsPrintableAscii(record_->request_id)) {
      metadata->emplace(kRequestIdMetadata, record_->request_id);
    }
    if (!record_->trace_parent.empty()) {
      metadata->emplace(kTraceParentMetadata, record_->trace_parent);
    }
    if (status.ok()) return;
    end_.message = engine::BoundedUtf8(status.error_message(), kMaxMessageBytes);
    google::rpc::Status rich;
    // An error without details is one for which there was no memory, or one of gRPC's own.
    if (status.error_details().empty() || !rich.ParseFromString(status.error_details())) return;
    TakeDetails(rich);
    google::rpc::RequestInfo info;
    info.set_request_id(record_->request_id);
    rich.add_details()->PackFrom(info);
    methods.ModifySendStatus(
        {status.error_code(), status.error_message(), rich.SerializeAsString()});
  }

  void TakeDetails(const google::rpc::Status& rich) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    for (const google::protobuf::Any& detail : rich.details()) {
      if (Unpack(detail, &info)) end_.reason = info.reason();
      if (Unpack(detail, &bad_request) && bad_request.field_violations_size() > 0) {
        end_.field = engine::BoundedUtf8(bad_request.field_violations(0).field(), kMaxMessageBytes);
      }
    }
  }

  const grpc::ServerContextBase& context_;
  const std::string_view method_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  const std::shared_ptr<CallRecord> record_;
  std::string peer_;
  CallEnd end_;
};

class CallLoggerFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallLoggerFactory(const std::vector<std::string>& services) : methods_(services) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new CallLogger(info->server_context(), methods_.Of(info->method()));
  }

 private:
  const MethodNames methods_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallLog(
    const std::vector<std::string>& services) {
  return std::make_unique<CallLoggerFactory>(services);
}

}  // namespace whipsnake::server
