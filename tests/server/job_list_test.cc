#include "server/rpc/job_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Job MakeJob(int64_t number, JobState state, int32_t priority, const std::string& team) {
  Job job{.kind = "fine-tuning", .id = absl::StrCat("job-", number), .uid = ""};
  job.number = number;
  job.state = state;
  job.priority = priority;
  if (!team.empty()) job.labels["team"] = team;
  job.request = {{"spec", {{"model", number % 2 == 0 ? "acme/even:1" : "odd"}, {"task", "dpo"}}}};
  return job;
}

std::vector<Job> SomeJobs() {
  return {MakeJob(1, JobState::kRunning, 0, "search"), MakeJob(2, JobState::kQueued, 5, "ads"),
          MakeJob(3, JobState::kFailed, -1, ""), MakeJob(4, JobState::kQueued, 5, "a \"b\"")};
}

absl::StatusOr<JobPage> PageOf(const std::vector<Job>& jobs, const JobQuery& query) {
  ASSIGN_OR_RETURN(const JobSelection selection, ParseJobQuery(query));
  std::vector<const Job*> candidates;
  for (const Job& job : jobs) candidates.push_back(&job);
  return ToPage(Select(candidates, selection), selection, query);
}

std::vector<std::string> IdsOf(const std::string& filter, const std::string& order_by = "") {
  const auto page = PageOf(SomeJobs(), {.filter = filter, .order_by = order_by});
  EXPECT_TRUE(page.ok()) << page.status();
  std::vector<std::string> ids;
  for (const Job& job : page->jobs) ids.push_back(job.id.substr(4));
  return ids;
}

TEST(JobListTest, FiltersByEachField) {
  EXPECT_THAT(IdsOf(""), ElementsAre("4", "3", "2", "1"));
  EXPECT_THAT(IdsOf("state = QUEUED"), ElementsAre("4", "2"));
  EXPECT_THAT(IdsOf("state=queued AND priority>=5 AND labels.team = ads"), ElementsAre("2"));
  EXPECT_THAT(IdsOf(R"(labels.team = "a \"b\"")"), ElementsAre("4"));
  EXPECT_THAT(IdsOf("labels.team != search"), ElementsAre("4", "3", "2"));
  EXPECT_THAT(IdsOf("model = acme/even:1"), ElementsAre("4", "2"));
  EXPECT_THAT(IdsOf("task = dpo AND id = job-3"), ElementsAre("3"));
  EXPECT_THAT(IdsOf("priority < 0"), ElementsAre("3"));
  EXPECT_THAT(IdsOf("labels.none = x"), IsEmpty());
}

TEST(JobListTest, OrdersAndRefusesOtherOrders) {
  EXPECT_THAT(IdsOf("", "create_time"), ElementsAre("1", "2", "3", "4"));
  EXPECT_THAT(IdsOf("", "priority desc"), ElementsAre("2", "4", "1", "3"));
  const auto page = PageOf(SomeJobs(), {.order_by = "loss"});
  EXPECT_EQ(engine::FieldOf(page.status()), "order_by");
}

TEST(JobListTest, NamesWhatIsWrongInAFilter) {
  for (const char* filter :
       {"state", "state =", "= RUNNING", "state = RUNNING priority = 1",
        "state = RUNNING OR id = a", "state = DREAMING", "priority = high", "model > a",
        "colour = red", "labels.team = \"a", "state = RUNNING AND", "id = \"a\\"}) {
    EXPECT_EQ(engine::FieldOf(ParseJobFilter(filter).status()), "filter") << filter;
  }
}

// Any text is parsed or refused.
TEST(JobListTest, ParsesAnyText) {
  std::mt19937 random(1);
  const std::string parts[] = {"state", "=",       "!=",      "<",        "\"", "\\",   "AND", " ",
                               "a",     "RUNNING", "labels.", "priority", "5",  "\xff", "é"};
  for (int i = 0; i < 20'000; ++i) {
    std::string filter;
    for (unsigned part = random() % 9; part > 0; --part)
      filter += parts[random() % std::size(parts)];
    const auto parsed = ParseJobFilter(filter);
    EXPECT_TRUE(parsed.ok() || engine::FieldOf(parsed.status()) == "filter") << filter;
  }
}

// Pages of any size show each job once, in the order of the whole list, even if jobs come and go.
TEST(JobListTest, PagesShowEachJobOnce) {
  std::mt19937 random(2);
  std::vector<Job> jobs;
  for (int64_t i = 1; i <= 50; ++i) {
    jobs.push_back(MakeJob(i, JobState::kQueued, static_cast<int32_t>(random() % 3), ""));
    jobs.back().position = static_cast<int32_t>(51 - i);
  }
  for (const char* order : {"", "create_time", "priority desc", "queue_position"}) {
    std::vector<std::string> whole, paged;
    const auto all = PageOf(jobs, {.order_by = order});
    for (const Job& job : all->jobs) whole.push_back(job.id);
    std::string token;
    do {
      const auto page = PageOf(jobs, {.page_size = static_cast<int32_t>(random() % 7 + 1),
                                      .page_token = token,
                                      .order_by = order});
      ASSERT_TRUE(page.ok());
      for (const Job& job : page->jobs) paged.push_back(job.id);
      token = page->next_page_token;
    } while (!token.empty());
    EXPECT_EQ(paged, whole) << order;
  }
  EXPECT_EQ(engine::FieldOf(PageOf(jobs, {.page_token = "x"}).status()), "page_token");
  EXPECT_EQ(engine::FieldOf(PageOf(jobs, {.page_size = -1}).status()), "page_size");
}

// The places of another list mean something else, so its tokens are refused and do not skip jobs.
TEST(JobListTest, ATokenIsThatOfItsFilterAndOrder) {
  const JobQuery first = {.page_size = 1, .filter = "priority >= 0", .order_by = "priority desc"};
  const std::string token = PageOf(SomeJobs(), first)->next_page_token;
  ASSERT_NE(token, "");
  JobQuery next = first;
  next.page_token = token;
  next.page_size = 2;  // may change
  EXPECT_TRUE(PageOf(SomeJobs(), next).ok());
  JobQuery other_order = next, other_filter = next;
  other_order.order_by = "create_time";
  other_filter.filter = "";
  for (const JobQuery& other : {other_order, other_filter}) {
    const absl::Status refused = PageOf(SomeJobs(), other).status();
    EXPECT_EQ(engine::FieldOf(refused), "page_token");
    EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  }
}

}  // namespace
}  // namespace whipsnake::server
