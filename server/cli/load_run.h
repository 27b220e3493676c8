// Many generations at once against a server, and what they took.
#ifndef WHIPSNAKE_SERVER_CLI_LOAD_RUN_H_
#define WHIPSNAKE_SERVER_CLI_LOAD_RUN_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace whipsnake::server {

struct LoadShape {
  std::string model;
  int32_t vocab_size = 0;  // prompts are random ids below it
  int64_t requests = 100;
  int64_t concurrency = 8;  // closed loop: the next begins when one ends
  double rate = 0;          // above 0: open loop, so many a second, as a Poisson process
  int64_t prompt_tokens = 128;
  int64_t max_tokens = 64;
  float temperature = 0;
  float top_p = 1;
  double timeout_seconds = 600;  // of a request
  uint64_t seed = 1;             // of the prompts and the arrivals
};

// Times in seconds, of the requests that succeeded.
struct LoadResult {
  int64_t requests = 0;
  std::map<std::string, int64_t> errors;  // by the name of the code
  int64_t output_tokens = 0;
  double seconds = 0;               // from the first request's start to the last one's end
  std::vector<double> first_token;  // from the request's start to its first token
  std::vector<double> inter_token;  // between tokens; those that came together share their gap
  std::vector<double> request;

  int64_t failed() const;
};

// Returns when the last request has ended. `progress` is told the share that has, from the calling
// thread.
LoadResult RunLoad(const std::shared_ptr<grpc::Channel>& channel, const LoadShape& shape,
                   const std::function<void(double)>& progress);

// The p-th percentile, 0 to 100, by nearest rank; 0 of nothing.
double Percentile(std::vector<double> values, double p);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_LOAD_RUN_H_
