// The course of a job, thinned so that a page can draw it: a fixed number of columns, however many
// steps there are.
#ifndef WHIPSNAKE_SERVER_CONSOLE_JOB_HISTORY_H_
#define WHIPSNAKE_SERVER_CONSOLE_JOB_HISTORY_H_

#include <cstdint>
#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/jobs/job.h"

namespace whipsnake::server {

// What a page has of a history already.
struct HistoryMark {
  std::string uid;     // of the job
  int64_t width = 0;   // of its columns
  int64_t column = 0;  // the first one that it wants; the last one that it has may have changed
  int64_t event = 0;   // the id of the last event
};

// Columns have `width` steps each, and the last one perhaps fewer. When there are too many, pairs
// of neighbours become one and the width doubles. The memory is bounded, by about 1 MiB. Not
// thread-safe.
class JobHistory {
 public:
  static constexpr size_t kMaxColumns = 600;
  static constexpr int64_t kMaxCells = 120'000;  // columns times layers
  static constexpr size_t kMaxEvaluations = 1000;
  static constexpr size_t kMaxTexts = 200;  // the latest events that are neither steps nor
                                            // evaluations

  // Adds the next event of the job. A step that was seen before is left out: an attempt that goes
  // on after a checkpoint takes the same steps again, with the same results.
  void Add(const JobEvent& event);

  int64_t last_event() const { return last_event_; }

  // An object: `width`; `column`, the number of the first one; `columns`, an object of lists:
  // `step` (the last one of each column), `loss` (mean), `low`, `high`, `learning_rate`, `bytes`,
  // `active` (see below); `layers`; `evaluations` and `events` after the mark; `last_event`.
  // Everything is sent if the mark's width is not that of the history.
  //
  // `active` has a digit for each layer, from the input to the output: 0 if it did not train in any
  // step of the column, otherwise 1 to 6 by the part of the steps in which it did, as in the report
  // of a run.
  nlohmann::json After(HistoryMark mark) const;

 private:
  struct Column {
    int64_t last_step = 0;
    int64_t steps = 0;
    double loss_sum = 0;
    int64_t losses = 0;  // those that are finite
    double low = 0, high = 0;
    double learning_rate = 0;          // of the last step
    int64_t bytes = 0;                 // the most of its steps
    std::vector<int32_t> active = {};  // by layer, the steps in which it trained
  };

  void AddStep(const nlohmann::json& values);
  void AddEvaluation(const JobEvent& event);
  void AddText(const JobEvent& event);
  void Halve();
  static void Merge(const Column& from, Column& to);
  static std::string Shades(const Column& column);

  std::vector<Column> columns_;
  int64_t width_ = 1;
  int64_t last_step_ = 0;
  int64_t last_event_ = 0;
  size_t layers_ = 0;
  std::vector<nlohmann::json> evaluations_;  // with the id of the event
  std::deque<nlohmann::json> texts_;         // the same
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONSOLE_JOB_HISTORY_H_
