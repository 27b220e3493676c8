// Sends many concurrent generations to a server and measures them.
#ifndef WHIPSNAKE_SERVER_CLI_LOAD_RUN_H_
#define WHIPSNAKE_SERVER_CLI_LOAD_RUN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/mutex.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {

struct LoadShape {
  std::string model;
  int32_t vocab_size = 0;  // prompts are random ids below it
  int64_t requests = 100;
  int64_t concurrency = 8;  // closed loop: a request starts when another ends
  double rate = 0;          // above 0: open loop, requests per second of a Poisson process
  int64_t prompt_tokens = 128;
  int64_t max_tokens = 64;
  float temperature = 0;
  float top_p = 1;
  double timeout_seconds = 600;  // per request
  uint64_t seed = 0;             // of the prompts and the arrivals
};

// The arrival times of the tokens of one stream.
struct TokenArrivals {
  // Records a message with `count` tokens that arrived `seconds` after the start of the request.
  // `count` must be at least 1.
  void Add(double seconds, int64_t count);

  std::optional<double> first;  // from the request's start to its first token
  std::vector<double> gaps;     // between consecutive messages with tokens
  // Tokens that arrived in one message with another token. They have no gap of their own: the
  // client saw no time between them, and a mean over the message would hide how long it waited.
  int64_t merged = 0;
  int64_t tokens = 0;

 private:
  double last_ = 0;
};

struct LoadFailure {
  int64_t requests = 0;
  std::string message;  // of the first failed request
};

// Times are in seconds. Times and token counts are of the requests that succeeded.
struct LoadResult {
  int64_t succeeded = 0;
  std::map<std::string, LoadFailure> failures;  // by the name of the status code
  int64_t unfinished = 0;                       // cancelled or never started because of Stop
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;  // the part found in the server's prefix cache
  int64_t output_tokens = 0;
  int64_t merged_tokens = 0;        // part of output_tokens; see TokenArrivals
  double seconds = 0;               // from the first request's start to the last one's end
  std::vector<double> first_token;  // see TokenArrivals
  std::vector<double> inter_token;
  std::vector<double> request;

  int64_t failed() const;
};

// One run against one server. Run is called once. Stop is thread-safe and may be called repeatedly.
class LoadRun {
 public:
  // Runs all requests and returns when the last one has ended. `progress` is called on the calling
  // thread with the fraction that has ended.
  LoadResult Run(const std::shared_ptr<grpc::ChannelInterface>& channel, const LoadShape& shape,
                 const std::function<void(double)>& progress);
  // Starts no more requests and cancels the running ones; Run then returns the results so far. May
  // be called before Run.
  void Stop();

 private:
  class Call;

  void StartNext();
  void OnEnd(std::unique_ptr<const Call> call, const grpc::Status& status);
  void StartAtRandomTimes(const std::function<void(double)>& progress);
  bool done() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ended_ == (stopped_ ? begun_ : shape_.requests);
  }

  std::unique_ptr<v1::GenerationService::Stub> stub_;
  LoadShape shape_;
  engine::Mutex mutex_;
  engine::CondVar changed_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<std::shared_ptr<grpc::ClientContext>> running_ ABSL_GUARDED_BY(mutex_);
  LoadResult result_ ABSL_GUARDED_BY(mutex_);
};

// Returns the p-th percentile, 0 to 100, by nearest rank; nullopt if there are no values.
std::optional<double> Percentile(std::vector<double> values, double p);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_LOAD_RUN_H_
