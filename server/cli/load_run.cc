#include "server/cli/load_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <utility>

#include "absl/status/status.h"

namespace whipsnake::server {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

v1::StreamGenerateRequest RequestOf(const LoadShape& shape, int64_t index) {
  v1::StreamGenerateRequest request;
  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters.set_model(shape.model);
  std::mt19937_64 random(shape.seed * 1000003 + static_cast<uint64_t>(index));
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

}  // namespace

void TokenArrivals::Add(double seconds, int64_t count) {
  if (first) {
    gaps.push_back(seconds - last_);
  } else {
    first = seconds;
  }
  last_ = seconds;
  tokens += count;
  merged += count - 1;
}

int64_t LoadResult::failed() const {
  int64_t count = 0;
  for (const auto& [code, failure] : failures) count += failure.requests;
  return count;
}

// One request. Passes ownership of itself to the run when it is done.
class LoadRun::Call : public grpc::ClientReadReactor<v1::StreamGenerateResponse> {
 public:
  Call(LoadRun* run, int64_t index, std::shared_ptr<grpc::ClientContext> context)
      : run_(*run), request_(RequestOf(run->shape_, index)), context_(std::move(context)) {}

  void Start() {
    const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::duration<double>(run_.shape_.timeout_seconds));
    context_->set_deadline(std::chrono::system_clock::now() + timeout);
    start_ = Clock::now();
    run_.stub_->async()->StreamGenerate(context_.get(), &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (const int count = response_.delta().token_ids_size(); count > 0) {
      arrivals_.Add(Seconds(Clock::now() - start_), count);
    }
    if (response_.has_finished()) usage_ = response_.finished().usage();
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    duration_ = Seconds(Clock::now() - start_);
    run_.OnEnd(std::unique_ptr<const Call>(this), status);
  }

  const std::shared_ptr<grpc::ClientContext>& context() const { return context_; }

  void AddTo(LoadResult& result) const {
    ++result.succeeded;
    result.prompt_tokens += usage_.prompt_tokens();
    result.cached_prompt_tokens += usage_.cached_prompt_tokens();
    result.output_tokens += arrivals_.tokens;
    result.merged_tokens += arrivals_.merged;
    if (arrivals_.first) result.first_token.push_back(*arrivals_.first);
    result.inter_token.insert(result.inter_token.end(), arrivals_.gaps.begin(),
                              arrivals_.gaps.end());
    result.request.push_back(duration_);
  }

 private:
  LoadRun& run_;
  const v1::StreamGenerateRequest request_;
  const std::shared_ptr<grpc::ClientContext> context_;
  v1::StreamGenerateResponse response_;
  v1::Usage usage_;
  Clock::time_point start_;
  TokenArrivals arrivals_;
  double duration_ = 0;
};

LoadResult LoadRun::Run(const std::shared_ptr<grpc::ChannelInterface>& channel,
                        const LoadShape& shape, const std::function<void(double)>& progress) {
  stub_ = v1::GenerationService::NewStub(channel);
  shape_ = shape;
  const Clock::time_point start = Clock::now();
  if (shape_.rate > 0) {
    StartAtRandomTimes(progress);
  } else {
    for (int64_t i = 0; i < std::min(shape_.concurrency, shape_.requests); ++i) StartNext();
  }
  engine::MutexLock lock(mutex_);
  while (!done()) {
    changed_.WaitUntil(mutex_, Clock::now() + std::chrono::milliseconds(100));
    progress(static_cast<double>(ended_) / static_cast<double>(shape_.requests));
  }
  result_.unfinished += shape_.requests - begun_;
  result_.seconds = Seconds(Clock::now() - start);
  return std::move(result_);
}

void LoadRun::StartAtRandomTimes(const std::function<void(double)>& progress) {
  std::mt19937_64 random(shape_.seed);
  std::exponential_distribution<double> gap(shape_.rate);
  Clock::time_point next = Clock::now();
  for (int64_t i = 0; i < shape_.requests; ++i) {
    {
      engine::MutexLock lock(mutex_);
      while (!stopped_ && Clock::now() < next) changed_.WaitUntil(mutex_, next);
      if (stopped_) return;
      progress(static_cast<double>(ended_) / static_cast<double>(shape_.requests));
    }
    StartNext();
    next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random)));
  }
}

void LoadRun::StartNext() {
  const auto context = std::make_shared<grpc::ClientContext>();
  int64_t index;
  {
    engine::MutexLock lock(mutex_);
    if (stopped_ || begun_ == shape_.requests) return;
    index = begun_++;
    running_.insert(context);
  }
  (new Call(this, index, context))->Start();  // ends at once if Stop was called in between
}

void LoadRun::OnEnd(std::unique_ptr<const Call> call, const grpc::Status& status) {
  if (shape_.rate == 0) StartNext();
  // Hold the lock to the end: as soon as it is released, the run may be over and destroyed.
  engine::MutexLock lock(mutex_);
  running_.erase(call->context());
  if (status.ok()) {
    call->AddTo(result_);
  } else if (stopped_ && status.error_code() == grpc::StatusCode::CANCELLED) {
    ++result_.unfinished;
  } else {
    LoadFailure& failure =
        result_
            .failures[absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()))];
    if (++failure.requests == 1) failure.message = status.error_message();
  }
  // Destroy the call before its end is reported: after the last call the channel and gRPC may be
  // destroyed.
  call.reset();
  ++ended_;
  changed_.NotifyAll();
}

void LoadRun::Stop() {
  std::set<std::shared_ptr<grpc::ClientContext>> running;
  {
    engine::MutexLock lock(mutex_);
    stopped_ = true;
    running = running_;
    changed_.NotifyAll();
  }
  for (const auto& context : running) context->TryCancel();
}

std::optional<double> Percentile(std::vector<double> values, double p) {
  if (values.empty()) return std::nullopt;
  const auto rank = static_cast<int64_t>(std::ceil(p / 100 * static_cast<double>(values.size())));
  const auto nth = values.begin() + std::clamp<int64_t>(rank - 1, 0, std::ssize(values) - 1);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

}  // namespace whipsnake::server
