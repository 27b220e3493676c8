#include "server/console/job_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/finetune/run_log.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

struct Step {
  double loss;
  std::vector<bool> active;
};

JobEvent EventOf(int64_t id, int64_t step, const Step& taken) {
  engine::StepRecord record;
  record.step = step;
  record.loss = taken.loss;
  record.heap_bytes = 10 * step;
  record.active = taken.active;
  return {.id = id, .type = "step", .values = engine::ToJson(record)};
}

std::vector<Step> RandomSteps(std::mt19937& random, size_t count, size_t layers) {
  std::uniform_real_distribution<double> loss(0, 10);
  std::bernoulli_distribution active(0.1);
  std::vector<Step> steps(count);
  for (Step& step : steps) {
    step.loss = loss(random);
    for (size_t layer = 0; layer < layers; ++layer) step.active.push_back(active(random));
  }
  return steps;
}

// What the report of a run makes of it, from all steps of a column.
char ShadeOf(int64_t active, int64_t steps) {
  if (active == 0) return '0';
  const double part = 100.0 * static_cast<double>(active) / static_cast<double>(steps);
  return part <= 3    ? '1'
         : part <= 7  ? '2'
         : part <= 15 ? '3'
         : part <= 30 ? '4'
         : part <= 60 ? '5'
                      : '6';
}

// Compares each column with the steps that it stands for.
void ExpectColumnsOf(const JobHistory& history, const std::vector<Step>& steps) {
  const json reply = history.After({});
  const int64_t width = reply.at("width");
  const json& columns = reply.at("columns");
  const auto count = static_cast<int64_t>((steps.size() + width - 1) / width);
  ASSERT_EQ(columns.at("step").size(), count);
  ASSERT_LE(count, JobHistory::kMaxColumns);
  for (int64_t i = 0; i < count; ++i) {
    const auto begin = steps.begin() + i * width;
    const auto end = steps.begin() + std::min<int64_t>((i + 1) * width, std::ssize(steps));
    double sum = 0, low = HUGE_VAL, high = -HUGE_VAL;
    std::vector<int64_t> active(begin->active.size());
    for (auto step = begin; step != end; ++step) {
      sum += step->loss;
      low = std::min(low, step->loss);
      high = std::max(high, step->loss);
      for (size_t layer = 0; layer < active.size(); ++layer) active[layer] += step->active[layer];
    }
    std::string shades;
    for (const int64_t layer : active) shades += ShadeOf(layer, end - begin);
    EXPECT_EQ(columns["step"][i], end - steps.begin());
    EXPECT_NEAR(columns["loss"][i], sum / static_cast<double>(end - begin), 1e-9);
    EXPECT_EQ(columns["low"][i], low);
    EXPECT_EQ(columns["high"][i], high);
    EXPECT_EQ(columns["bytes"][i], 10 * (end - steps.begin()));
    EXPECT_EQ(columns["active"][i], shades);
  }
}

TEST(JobHistoryTest, AColumnIsWhatItsStepsAreHoweverManyThereAre) {
  std::mt19937 random(1);
  for (const size_t layers : {0, 1, 24, 3000}) {
    for (const size_t count : {1, 2, 599, 600, 601, 1201, 5000}) {
      if (layers * count > 500'000) continue;
      const std::vector<Step> steps = RandomSteps(random, count, layers);
      JobHistory history;
      for (size_t i = 0; i < count; ++i) {
        history.Add(EventOf(static_cast<int64_t>(i) + 1, static_cast<int64_t>(i) + 1, steps[i]));
      }
      SCOPED_TRACE(testing::Message() << layers << " layers, " << count << " steps");
      ExpectColumnsOf(history, steps);
    }
  }
}

// Puts replies together as the page does.
struct Page {
  HistoryMark mark;
  std::map<std::string, std::vector<json>> columns;
  std::vector<json> evaluations, events;

  void Add(const json& reply) {
    mark.width = reply.at("width");
    for (const auto& [key, list] : reply.at("columns").items()) {
      std::vector<json>& column = columns[key];
      column.resize(reply.at("column").get<size_t>());
      column.insert(column.end(), list.begin(), list.end());
      mark.column = std::max<int64_t>(std::ssize(column) - 1, 0);
    }
    for (const json& event : reply.at("evaluations")) evaluations.push_back(event);
    for (const json& event : reply.at("events")) events.push_back(event);
    mark.event = reply.at("last_event");
  }
};

TEST(JobHistoryTest, PartsThatArePutTogetherAreTheWhole) {
  std::mt19937 random(2);
  const std::vector<Step> steps = RandomSteps(random, 4000, 5);
  JobHistory history;
  Page page;
  std::bernoulli_distribution looks(0.02);
  int64_t id = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    history.Add(EventOf(++id, static_cast<int64_t>(i) + 1, steps[i]));
    if (i % 100 == 0) {
      history.Add({.id = ++id, .type = "evaluation", .values = {{"step", i + 1}, {"loss", 1.0}}});
      history.Add({.id = ++id, .type = "message", .values = {{"text", "look"}}});
    }
    if (looks(random)) page.Add(history.After(page.mark));
  }
  page.Add(history.After(page.mark));
  Page whole;
  whole.Add(history.After({}));
  EXPECT_EQ(page.columns, whole.columns);
  EXPECT_EQ(page.evaluations, whole.evaluations);
  EXPECT_EQ(page.events, whole.events);
  ExpectColumnsOf(history, steps);
}

TEST(JobHistoryTest, StepsThatAreTakenAgainCountOnce) {
  std::mt19937 random(3);
  const std::vector<Step> steps = RandomSteps(random, 100, 3);
  JobHistory history;
  int64_t id = 0;
  for (int64_t i = 0; i < 70; ++i) history.Add(EventOf(++id, i + 1, steps[i]));
  for (int64_t i = 50; i < 100; ++i) history.Add(EventOf(++id, i + 1, steps[i]));
  ExpectColumnsOf(history, steps);
}

TEST(JobHistoryTest, IsBounded) {
  JobHistory history;
  const std::string text(500, 'x');
  std::vector<bool> active(2000, true);
  for (int64_t i = 1; i <= 20'000; ++i) {
    if (i % 20 == 0) history.Add(EventOf(3 * i, i, {1.0, active}));
    history.Add({.id = 3 * i + 1, .type = "evaluation", .values = {{"step", i}, {"loss", 1.0}}});
    history.Add({.id = 3 * i + 2, .type = "message", .values = {{"text", text}}});
  }
  EXPECT_LT(history.After({}).dump().size(), 1'000'000);
}

TEST(JobHistoryTest, ALossThatIsNotANumberIsAGap) {
  JobHistory history;
  history.Add({.id = 1, .type = "step", .values = {{"step", 1}, {"loss", nullptr}}});
  history.Add({.id = 2, .type = "step", .values = {{"step", 2}, {"loss", std::nan("")}}});
  history.Add({.id = 3, .type = "step", .values = {{"step", 3}, {"loss", 2.5}, {"active", 7}}});
  const json columns = history.After({}).at("columns");
  EXPECT_EQ(columns.at("loss"), json({nullptr, nullptr, 2.5}));
}

}  // namespace
}  // namespace whipsnake::server
