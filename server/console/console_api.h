// What the console shows, as JSON: the state of the server, its models and its jobs.
#ifndef WHIPSNAKE_SERVER_CONSOLE_CONSOLE_API_H_
#define WHIPSNAKE_SERVER_CONSOLE_CONSOLE_API_H_

#include <chrono>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "server/jobs/job_queue.h"
#include "server/registry/model_registry.h"
#include "server/rpc/active_calls.h"

namespace whipsnake::server {

// All pointers must outlive what uses them.
struct ConsoleSources {
  const ModelRegistry* models = nullptr;
  JobQueue* jobs = nullptr;
  const engine::Ledger* ledger = nullptr;
  const ActiveCalls* active_calls = nullptr;
  std::chrono::system_clock::time_point start_time = {};
  int threads = 0;
  bool fine_tuning = false;  // whether there is a data directory for it
};

// Jobs in a list: those that have not ended come first.
inline constexpr size_t kMaxListedJobs = 200;

// None of these waits for the disk, or loads or wakes anything. Times are in seconds since 1970.

// `version`, `uptime_seconds`, `draining`, `not_ready` (why, or ""), `threads`, `isa`,
// `fine_tuning` and `memory`: `used`, `limit` and `purposes`, the bytes of each purpose by name.
nlohmann::json OverviewJson(const ConsoleSources& sources);

// `models`, a list: `name` (the key), `version`, `serves`, `aliases`, `state`, `error`, and once it
// is loaded `architecture`, `scheme`, `parameters`, `bytes`, `running`, `waiting`,
// `generated_tokens`.
nlohmann::json ModelsJson(const ConsoleSources& sources);

// `jobs`, a list of at most kMaxListedJobs: see JobSummary.
nlohmann::json JobsJson(const ConsoleSources& sources);

// A job as it is in a list: `kind`, `id`, `uid`, `state`, `reason`, `error`, `model`, `labels`,
// `priority`, `attempt`, `stage`, `fraction`, `position`, `waits_for`, `create_time`, `start_time`,
// `end_time`, `next_attempt_time`, and `progress`, an object by the kind.
nlohmann::json JobSummary(const Job& job);

// JobSummary with `request`, `settings`, `plan`, `result`, `available_bytes`, as far as there are
// any. Without paths of the server, and without texts.
nlohmann::json JobJson(const ConsoleSources& sources, const Job& job);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONSOLE_CONSOLE_API_H_
