// The filter, the order and the pages of a list of jobs (AIP-132, AIP-160).
#ifndef WHIPSNAKE_SERVER_RPC_JOB_LIST_H_
#define WHIPSNAKE_SERVER_RPC_JOB_LIST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/job.h"
#include "server/jobs/job_selection.h"

namespace whipsnake::server {

// One condition of a filter: "labels.team = search".
struct JobCondition {
  std::string field;     // "state", "priority", "model", "task", "id", "labels.KEY"
  std::string relation;  // "=", "!=", "<", "<=", ">", ">="
  std::string value;
};

// Parses conditions that are joined by AND. A value that has other characters than letters, digits,
// and ._-/: is quoted, with \ before a quote or a \. INVALID_ARGUMENT for the field "filter".
absl::StatusOr<std::vector<JobCondition>> ParseJobFilter(std::string_view filter);

struct JobQuery {
  int32_t page_size = 0;
  std::string page_token = {}, filter = {}, order_by = {};
};

struct JobPage {
  std::vector<Job> jobs;
  std::vector<std::string> tokens;  // of the page after each of the jobs
  std::string next_page_token;      // "" on the last page
};

// The jobs of a page and the one after it, from which ToPage makes the page. The token names the
// last job of the page before, so that a list that changes between pages shows no job twice, but
// for one by queue_position, where jobs change their places. It holds for the same filter and
// order_by: in another list its place would mean something else. INVALID_ARGUMENT names the field
// of the query.
absl::StatusOr<JobSelection> ParseJobQuery(const JobQuery& query);
JobPage ToPage(std::vector<Job> selected, const JobSelection& selection, const JobQuery& query);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_JOB_LIST_H_
