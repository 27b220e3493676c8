// The console: a web page that shows the server's models and jobs and sends prompts.
#ifndef WHIPSNAKE_SERVER_CONSOLE_CONSOLE_H_
#define WHIPSNAKE_SERVER_CONSOLE_CONSOLE_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/console/console_api.h"
#include "server/console/console_guard.h"
#include "server/console/job_histories.h"
#include "server/http/http_message.h"
#include "server/listen_address.h"
#include "server/work/disk_queue.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {

struct ConsoleAsset;

struct ConsoleOptions {
  std::vector<std::string> hosts = {};  // see ConsoleGuard
  std::function<std::chrono::steady_clock::time_point()> clock = [] {
    return std::chrono::steady_clock::now();
  };
};

// Its routes are called on the HTTP server's thread, one at a time.
//
//   GET /console                the page; its files are below /console/
//   GET /console/api/overview   OverviewJson
//   GET /console/api/models     ModelsJson
//   GET /console/api/jobs       JobsJson
//   GET /console/api/job        JobJson, of `kind` and `id`
//   GET /console/api/history    JobHistories::Get, of `kind` and `id` after `uid`, `width`,
//                               `column` and `event`
//   POST /console/api/generate  a prompt: see PromptStream
//
// An error is an object with `error`: `reason` and `message`. The first three are made at most once
// a second, however many pages ask.
class Console {
 public:
  static constexpr size_t kMaxPromptBytes = 64 << 10;
  static constexpr int kMaxPrompts = 4;  // in progress

  // What `sources` points to, and `disk`, must outlive the console.
  Console(const ListenAddress& address, ConsoleOptions options, ConsoleSources sources,
          DiskQueue* disk, std::shared_ptr<v1::GenerationService::Stub> generation);

  // The console must outlive the routes.
  void AddRoutes(HttpRoutes& routes);

 private:
  // A reply that is made anew after a second.
  struct Cached {
    std::chrono::steady_clock::time_point until;
    std::string body;
  };

  HttpResponse Page(const ConsoleAsset& asset, const HttpRequest& request) const;
  HttpRoute CachedRoute(nlohmann::json (*make)(const ConsoleSources&));
  HttpResponse GetJob(const HttpRequest& request) const;
  void GetHistory(const HttpRequest& request, const HttpAnswer& answer);
  HttpResponse Generate(const HttpRequest& request);

  const ConsoleGuard guard_;
  const ConsoleOptions options_;
  const ConsoleSources sources_;
  JobHistories histories_;
  const std::shared_ptr<v1::GenerationService::Stub> generation_;
  std::shared_ptr<std::atomic<int>> prompts_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONSOLE_CONSOLE_H_
