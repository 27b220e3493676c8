#include "server/rpc/job_list.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/digest.h"
#include "engine/base/status.h"
#include "server/rpc/paging.h"

namespace whipsnake::server {
namespace {

constexpr std::string_view kFilterExample =
    "conditions such as state = RUNNING AND labels.team = \"search\"";
constexpr size_t kMarkLength = 8;  // of a page token
constexpr std::array<std::string_view, 6> kRelations = {"<=", ">=", "!=", "=", "<", ">"};

absl::Status BadFilter(std::string_view rest) {
  return engine::InvalidField("filter", engine::Quoted(rest), kFilterExample);
}

// Takes the parts of a filter from its beginning.
class FilterReader {
 public:
  explicit FilterReader(std::string_view text) : rest_(text) {}

  bool done() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
    return rest_.empty();
  }
  std::string_view rest() const { return rest_; }

  // A word of letters, digits and ._-/: ; "" if there is none.
  std::string Word() {
    if (done()) return "";
    const auto end = std::ranges::find_if_not(rest_, [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
             std::string_view("._-/:").find(c) != std::string_view::npos;
    });
    std::string word(rest_.begin(), end);
    rest_.remove_prefix(word.size());
    return word;
  }
  std::string Relation() {
    if (done()) return "";
    for (const std::string_view relation : kRelations) {
      if (!rest_.starts_with(relation)) continue;
      rest_.remove_prefix(relation.size());
      return std::string(relation);
    }
    return "";
  }
  // A word or a quoted text.
  std::optional<std::string> Value() {
    if (done()) return std::nullopt;
    if (rest_.front() != '"') {
      std::string word = Word();
      return word.empty() ? std::nullopt : std::optional(std::move(word));
    }
    std::string value;
    for (size_t i = 1; i < rest_.size(); ++i) {
      if (rest_[i] == '"') {
        rest_.remove_prefix(i + 1);
        return value;
      }
      if (rest_[i] == '\\' && ++i == rest_.size()) break;
      value += rest_[i];
    }
    return std::nullopt;
  }

 private:
  std::string_view rest_;
};

absl::Status CheckCondition(const JobCondition& condition) {
  const bool orders = condition.relation != "=" && condition.relation != "!=";
  int64_t number = 0;
  if (condition.field == "priority") {
    if (absl::SimpleAtoi(condition.value, &number)) return absl::OkStatus();
    return engine::InvalidField("filter", "priority " + engine::Quoted(condition.value),
                                "an integer");
  }
  if (orders) {
    return engine::InvalidField("filter", condition.field + " " + condition.relation,
                                "= or !=; only priority has an order");
  }
  if (condition.field == "state") {
    const absl::Status known = ParseJobState(absl::AsciiStrToLower(condition.value)).status();
    if (known.ok()) return known;
    return engine::InvalidField("filter", "state " + engine::Quoted(condition.value),
                                "a state of jobs, such as RUNNING");
  }
  if (condition.field == "model" || condition.field == "task" || condition.field == "id" ||
      absl::StartsWith(condition.field, "labels.")) {
    return absl::OkStatus();
  }
  return engine::InvalidField("filter", engine::Quoted(condition.field),
                              "state, priority, model, task, id or labels.KEY");
}

template <typename Value>
bool Compare(const Value& left, std::string_view relation, const Value& right) {
  if (relation == "=") return left == right;
  if (relation == "!=") return left != right;
  if (relation == "<") return left < right;
  if (relation == "<=") return left <= right;
  if (relation == ">") return left > right;
  return left >= right;
}

// The text that a condition's field stands for, or nullopt if the job does not have it.
std::optional<std::string> TextOf(const Job& job, const std::string& field) {
  if (field == "id") return job.id;
  if (field == "state") return std::string(Name(job.state));
  if (absl::StartsWith(field, "labels.")) {
    const auto label = job.labels.find(field.substr(7));
    return label != job.labels.end() ? std::optional(label->second) : std::nullopt;
  }
  const auto spec = job.request.find("spec");
  if (spec == job.request.end() || !spec->contains(field)) return std::nullopt;
  return spec->at(field).get<std::string>();
}

bool Satisfies(const Job& job, const JobCondition& condition) {
  if (condition.field == "priority") {
    int64_t number = 0;
    (void)absl::SimpleAtoi(condition.value, &number);
    return Compare<int64_t>(job.priority, condition.relation, number);
  }
  const std::optional<std::string> text = TextOf(job, condition.field);
  const std::string value =
      condition.field == "state" ? absl::AsciiStrToLower(condition.value) : condition.value;
  if (!text) return condition.relation == "!=";
  return Compare(*text, condition.relation, value);
}

using Place = JobSelection::Place;

absl::StatusOr<std::function<Place(const Job&)>> ParseOrder(const std::string& order_by) {
  if (order_by.empty() || order_by == "create_time desc") {
    return [](const Job& job) { return Place(0, -job.number); };
  }
  if (order_by == "create_time") return JobSelection::ByCreation;
  if (order_by == "priority desc") {
    return [](const Job& job) { return Place(-int64_t{job.priority}, job.number); };
  }
  if (order_by == "queue_position") {  // those that do not wait come last
    return [](const Job& job) {
      return Place(job.position > 0 ? job.position : int64_t{1} << 40, job.number);
    };
  }
  return engine::InvalidField(
      "order_by", engine::Quoted(order_by),
      "\"create_time desc\", \"create_time\", \"priority desc\" or \"queue_position\"");
}

// What a token has of the query that it belongs to: the filter and the order, as they are given.
std::string MarkOf(const JobQuery& query) {
  engine::Digest digest;
  digest.Add(query.filter);
  digest.Add(std::string_view("\0", 1));  // in no filter that parses
  digest.Add(query.order_by);
  return digest.text().substr(0, kMarkLength);
}

// "<mark of the query>:<place of the last job>".
std::string TokenOf(const std::string& mark, const Place& place) {
  return absl::StrCat(mark, ":", place.first, ":", place.second);
}

absl::StatusOr<Place> ParseToken(const JobQuery& query) {
  const std::vector<std::string> parts = absl::StrSplit(query.page_token, ':');
  Place place;
  if (parts.size() != 3 || parts[0].size() != kMarkLength ||
      !absl::SimpleAtoi(parts[1], &place.first) || !absl::SimpleAtoi(parts[2], &place.second)) {
    return BadPageToken(query.page_token);
  }
  if (parts[0] != MarkOf(query)) {
    return engine::InvalidField("page_token", engine::Quoted(query.page_token),
                                "a next_page_token of a list with this filter and order_by");
  }
  return place;
}

}  // namespace

absl::StatusOr<std::vector<JobCondition>> ParseJobFilter(std::string_view filter) {
  std::vector<JobCondition> conditions;
  FilterReader reader(filter);
  while (!reader.done()) {
    if (!conditions.empty() && reader.Word() != "AND") return BadFilter(reader.rest());
    JobCondition condition;
    condition.field = reader.Word();
    condition.relation = reader.Relation();
    std::optional<std::string> value = reader.Value();
    if (condition.field.empty() || condition.relation.empty() || !value) {
      return BadFilter(reader.rest());
    }
    condition.value = *std::move(value);
    RETURN_IF_ERROR(CheckCondition(condition));
    conditions.push_back(std::move(condition));
  }
  return conditions;
}

absl::StatusOr<JobSelection> ParseJobQuery(const JobQuery& query) {
  JobSelection selection;
  ASSIGN_OR_RETURN(const int page_size, PageSize(query.page_size));
  selection.limit = page_size + 1;
  ASSIGN_OR_RETURN(const std::vector<JobCondition> conditions, ParseJobFilter(query.filter));
  selection.matches = [conditions](const Job& job) {
    return std::ranges::all_of(
        conditions, [&](const JobCondition& condition) { return Satisfies(job, condition); });
  };
  ASSIGN_OR_RETURN(selection.place, ParseOrder(query.order_by));
  if (!query.page_token.empty()) {
    ASSIGN_OR_RETURN(selection.after, ParseToken(query));
  }
  return selection;
}

JobPage ToPage(std::vector<Job> selected, const JobSelection& selection, const JobQuery& query) {
  JobPage page;
  const std::string mark = MarkOf(query);
  page.jobs = std::move(selected);
  const bool more = page.jobs.size() == selection.limit;
  if (more) page.jobs.pop_back();
  for (const Job& job : page.jobs) {
    page.tokens.push_back(TokenOf(mark, selection.place(job)));
  }
  if (more) page.next_page_token = page.tokens.back();
  return page;
}

}  // namespace whipsnake::server
