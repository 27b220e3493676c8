// The report of a training run: for programs as JSON, for people as one page of HTML.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_RUN_REPORT_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_RUN_REPORT_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/finetune/data/dataset_report.h"
#include "engine/finetune/run_log.h"
#include "engine/finetune/trainer.h"
#include "engine/finetune/training_options.h"

namespace whipsnake::engine {

enum class RunEnd { kFinished, kStoppedEarly, kCancelled };

// "finished", "stopped early", "cancelled".
std::string_view Name(RunEnd end);

struct RunReport {
  std::string version;                      // of the program; "" if not known
  int64_t started = 0;                      // in seconds since 1970, UTC
  double seconds = 0;                       // of the whole run
  std::string model;                        // the name of the directory that training began with
  std::string family;                       // "gpt2"
  int64_t parameters = 0;                   // numbers that are trained
  std::vector<std::string> fresh, dropped;  // tensors; see TrainableModel
  TrainingOptions options;
  std::vector<ScheduledLayer> layers;  // of LayerFreezing
  RunLog log;
  DatasetReport training_data;
  std::optional<DatasetReport> evaluation_data;
  TrainingMemory memory;
  int64_t planned_peak_bytes = 0;  // estimated before the run; 0 if it was not
  int64_t peak_bytes = 0;          // the most that the ledger counted
  RunEnd ended = RunEnd::kFinished;

  // With the lowest loss; null without evaluations.
  const EvaluationRecord* best_evaluation() const;
  // Of the parameters that the run ended with: with a patience, which keeps those of the best
  // evaluation, that one, otherwise the last. Null without evaluations.
  const EvaluationRecord* final_evaluation() const;
  // The bytes of the heap that gradients of parameters leave at their highest.
  int64_t activation_peak_bytes() const { return memory.activations - memory.gradients; }
  // Of each layer, the number of steps in which it trained: all without a scheduler.
  std::vector<int64_t> active_steps() const;
  double median_step_seconds() const;  // 0 without steps
  double tokens_per_second() const;    // of the time in steps; 0 without steps
  int64_t tokens() const;
};

// What happened, in one sentence of plain text: "gpt2-demo, 4.6 M parameters, classification on
// gloss-pos: accuracy 0.71 → 0.83 in 1,605 steps, 4 min 12 s".
std::string Sentence(const RunReport& report);

// Keys: version, started, seconds, ended, steps, eval_loss, eval_accuracy and eval_margin (those of
// final_evaluation() that there are), best_evaluation, step_seconds_p50, tokens_per_second,
// planned_peak_bytes, peak_bytes, activation_peak_bytes, model, memory, layers, options, data, log.
// `layers` is a list of objects {name, block, active_steps}, without the block for layers of none;
// memory.classes has the bytes of each class of tensors at their highest. Numbers that are not
// finite become null when it is written.
nlohmann::ordered_json ToJson(const RunReport& report);

// A page that needs no other files, no network and no scripts. It is also well-formed XML. All
// names and texts of the report are escaped. Long runs are thinned, so that the page stays below
// 1 MB.
std::string ToHtml(const RunReport& report);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_RUN_REPORT_H_
