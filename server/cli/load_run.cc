#include "server/cli/load_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

v1::StreamGenerateRequest RequestOf(const LoadShape& shape, int64_t index) {
  v1::StreamGenerateRequest request;
  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters.set_model(shape.model);
  std::mt19937_64 random(shape.seed * 1000003 + index);
  for (int64_t i = 0; i < shape.prompt_tokens; ++i) {
    parameters.mutable_token_ids()->add_ids(static_cast<int32_t>(random() % shape.vocab_size));
  }
  parameters.mutable_sampling()->set_temperature(shape.temperature);
  parameters.mutable_sampling()->set_top_p(shape.top_p);
  parameters.mutable_stopping()->set_max_new_tokens(static_cast<int32_t>(shape.max_tokens));
  parameters.mutable_stopping()->set_ignore_eos(true);
  parameters.mutable_output()->set_token_ids(true);
  return request;
}

class LoadRun {
 public:
  LoadRun(const std::shared_ptr<grpc::Channel>& channel, const LoadShape& shape)
      : stub_(v1::GenerationService::NewStub(channel)), shape_(shape) {}

  LoadResult Run(const std::function<void(double)>& progress);

 private:
  class Call;

  void StartNext();
  void OnEnd(const Call& call, const grpc::Status& status);
  void IssueAsPoisson(const std::function<void(double)>& progress);

  const std::unique_ptr<v1::GenerationService::Stub> stub_;
  const LoadShape shape_;
  engine::Mutex mutex_;
  engine::CondVar ended_;
  int64_t issued_ ABSL_GUARDED_BY(mutex_) = 0;
  LoadResult result_ ABSL_GUARDED_BY(mutex_);
};

// Deletes itself when it is done.
class LoadRun::Call : public grpc::ClientReadReactor<v1::StreamGenerateResponse> {
 public:
  Call(LoadRun* run, int64_t index) : run_(*run), request_(RequestOf(run->shape_, index)) {}

  void Start() {
    const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::duration<double>(run_.shape_.timeout_seconds));
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
    start_ = last_ = Clock::now();
    run_.stub_->async()->StreamGenerate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    const int count = response_.delta().token_ids_size();
    if (count > 0) {
      const Clock::time_point now = Clock::now();
      if (tokens_ == 0) {
        first_token_ = Seconds(now - start_);
      } else {
        inter_token_.insert(inter_token_.end(), count, Seconds(now - last_) / count);
      }
      tokens_ += count;
      last_ = now;
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    duration_ = Seconds(Clock::now() - start_);
    run_.OnEnd(*this, status);
    delete this;
  }

  void AddTo(LoadResult& result) const {
    result.output_tokens += tokens_;
    result.first_token.push_back(first_token_);
    result.inter_token.insert(result.inter_token.end(), inter_token_.begin(), inter_token_.end());
    result.request.push_back(duration_);
  }

 private:
  LoadRun& run_;
  const v1::StreamGenerateRequest request_;
  grpc::ClientContext context_;
  v1::StreamGenerateResponse response_;
  Clock::time_point start_, last_;
  int64_t tokens_ = 0;
  double first_token_ = 0, duration_ = 0;
  std::vector<double> inter_token_;
};

LoadResult LoadRun::Run(const std::function<void(double)>& progress) {
  const Clock::time_point start = Clock::now();
  if (shape_.rate > 0) {
    IssueAsPoisson(progress);
  } else {
    for (int64_t i = 0; i < std::min(shape_.concurrency, shape_.requests); ++i) StartNext();
  }
  engine::MutexLock lock(mutex_);
  while (result_.requests < shape_.requests) {
    ended_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(100));
    progress(static_cast<double>(result_.requests) / shape_.requests);
  }
  result_.seconds = Seconds(Clock::now() - start);
  return std::move(result_);
}

void LoadRun::IssueAsPoisson(const std::function<void(double)>& progress) {
  std::mt19937_64 random(shape_.seed);
  std::exponential_distribution<double> gap(shape_.rate);
  Clock::time_point next = Clock::now();
  for (int64_t i = 0; i < shape_.requests; ++i) {
    std::this_thread::sleep_until(next);
    StartNext();
    next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random)));
    engine::MutexLock lock(mutex_);
    progress(static_cast<double>(result_.requests) / shape_.requests);
  }
}

void LoadRun::StartNext() {
  int64_t index;
  {
    engine::MutexLock lock(mutex_);
    if (issued_ == shape_.requests) return;
    index = issued_++;
  }
  (new Call(this, index))->Start();
}

void LoadRun::OnEnd(const Call& call, const grpc::Status& status) {
  if (shape_.rate == 0) StartNext();
  // Under the lock to its end: the run may be over, and gone, as soon as it is released.
  engine::MutexLock lock(mutex_);
  ++result_.requests;
  if (status.ok()) {
    call.AddTo(result_);
  } else {
    ++result_.errors[absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()))];
  }
  ended_.NotifyOne();
}

}  // namespace

int64_t LoadResult::failed() const {
  int64_t count = 0;
  for (const auto& [code, requests] : errors) count += requests;
  return count;
}

LoadResult RunLoad(const std::shared_ptr<grpc::Channel>& channel, const LoadShape& shape,
                   const std::function<void(double)>& progress) {
  return LoadRun(channel, shape).Run(progress);
}

double Percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto rank = static_cast<int64_t>(std::ceil(p / 100 * std::ssize(values)));
  const auto nth = values.begin() + std::clamp<int64_t>(rank - 1, 0, std::ssize(values) - 1);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

}  // namespace whipsnake::server
