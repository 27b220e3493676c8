#include "server/console/job_history.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "engine/finetune/run_log.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

// A shade has the parts of a column up to its limit, in percent.
constexpr int kShadeLimits[] = {3, 7, 15, 30, 60, 100};

// Not-a-number is stored as null.
double NumberOr(const json& object, const char* key, double otherwise) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

int64_t IntegerOr(const json& object, const char* key, int64_t otherwise) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<int64_t>() : otherwise;
}

std::vector<bool> ActiveOf(const json& values) {
  const auto found = values.find("active");
  if (found == values.end()) return {};
  auto active = engine::ParseActiveLayers(*found);
  return active.ok() ? *std::move(active) : std::vector<bool>();
}

json WithId(const JobEvent& event) {
  json object = event.values;
  object["id"] = event.id;
  return object;
}

json AfterEvent(const auto& list, int64_t id) {
  json after = json::array();
  for (const json& entry : list) {
    if (entry.at("id") > id) after.push_back(entry);
  }
  return after;
}

}  // namespace

void JobHistory::Add(const JobEvent& event) {
  last_event_ = std::max(last_event_, event.id);
  if (event.type == "step") {
    AddStep(event.values);
  } else if (event.type == "evaluation") {
    AddEvaluation(event);
  } else {
    AddText(event);
  }
}

void JobHistory::AddStep(const json& values) {
  const int64_t step = IntegerOr(values, "step", 0);
  if (step <= last_step_) return;
  last_step_ = step;
  const double loss = NumberOr(values, "loss", std::nan(""));
  Column column{.last_step = step,
                .steps = 1,
                .learning_rate = NumberOr(values, "learning_rate", 0),
                .bytes = IntegerOr(values, "heap_bytes", 0) + IntegerOr(values, "moment_bytes", 0)};
  if (std::isfinite(loss)) {
    column.loss_sum = column.low = column.high = loss;
    column.losses = 1;
  }
  const std::vector<bool> active = ActiveOf(values);
  column.active.assign(active.begin(), active.end());
  layers_ = std::max(layers_, active.size());
  if (!columns_.empty() && columns_.back().steps < width_) {
    Merge(column, columns_.back());
    return;
  }
  columns_.push_back(std::move(column));
  const auto most = std::clamp<size_t>(
      kMaxCells / static_cast<int64_t>(std::max<size_t>(layers_, 1)), 2, kMaxColumns);
  if (columns_.size() > most) Halve();
}

void JobHistory::Halve() {
  size_t kept = 0;
  for (size_t i = 0; i < columns_.size(); i += 2) {
    Column column = std::move(columns_[i]);
    if (i + 1 < columns_.size()) Merge(columns_[i + 1], column);
    columns_[kept++] = std::move(column);
  }
  columns_.resize(kept);
  width_ *= 2;
}

void JobHistory::Merge(const Column& from, Column& to) {
  to.last_step = from.last_step;
  to.steps += from.steps;
  if (from.losses > 0) {
    to.low = to.losses > 0 ? std::min(to.low, from.low) : from.low;
    to.high = to.losses > 0 ? std::max(to.high, from.high) : from.high;
    to.loss_sum += from.loss_sum;
    to.losses += from.losses;
  }
  to.learning_rate = from.learning_rate;
  to.bytes = std::max(to.bytes, from.bytes);
  to.active.resize(std::max(to.active.size(), from.active.size()));
  for (size_t layer = 0; layer < from.active.size(); ++layer) {
    to.active[layer] += from.active[layer];
  }
}

void JobHistory::AddEvaluation(const JobEvent& event) {
  const int64_t step = IntegerOr(event.values, "step", 0);
  if (!evaluations_.empty() && step <= IntegerOr(evaluations_.back(), "step", 0)) return;
  evaluations_.push_back(WithId(event));
  if (evaluations_.size() <= kMaxEvaluations) return;
  // Keeps every second one, and the last.
  size_t kept = 0;
  for (size_t i = 0; i < evaluations_.size(); i += 2) {
    evaluations_[kept++] = std::move(evaluations_[i]);
  }
  evaluations_.resize(kept);
}

void JobHistory::AddText(const JobEvent& event) {
  json object = WithId(event);
  object["type"] = event.type;
  object["level"] = Name(event.level);
  object["time"] = std::chrono::duration<double>(event.time.time_since_epoch()).count();
  texts_.push_back(std::move(object));
  if (texts_.size() > kMaxTexts) texts_.pop_front();
}

std::string JobHistory::Shades(const Column& column) {
  std::string shades;
  for (const int64_t steps : column.active) {
    const auto limit = std::ranges::find_if(
        kShadeLimits, [&](int percent) { return 100 * steps <= percent * column.steps; });
    shades += static_cast<char>(steps == 0 ? '0' : '1' + (limit - std::begin(kShadeLimits)));
  }
  return shades;
}

json JobHistory::After(HistoryMark mark) const {
  if (mark.width != width_ || mark.column < 0) mark.column = 0;
  json columns = {{"step", json::array()},          {"loss", json::array()},
                  {"low", json::array()},           {"high", json::array()},
                  {"learning_rate", json::array()}, {"bytes", json::array()},
                  {"active", json::array()}};
  for (auto i = static_cast<size_t>(mark.column); i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    const bool finite = column.losses > 0;
    columns["step"].push_back(column.last_step);
    columns["loss"].push_back(finite ? json(column.loss_sum / static_cast<double>(column.losses))
                                     : json());
    columns["low"].push_back(finite ? json(column.low) : json());
    columns["high"].push_back(finite ? json(column.high) : json());
    columns["learning_rate"].push_back(column.learning_rate);
    columns["bytes"].push_back(column.bytes);
    columns["active"].push_back(Shades(column));
  }
  return {{"width", width_},
          {"column", mark.column},
          {"columns", std::move(columns)},
          {"layers", layers_},
          {"evaluations", AfterEvent(evaluations_, mark.event)},
          {"events", AfterEvent(texts_, mark.event)},
          {"last_event", last_event_}};
}

}  // namespace whipsnake::server
