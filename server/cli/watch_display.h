// What `whipsnake finetune watch` shows of a job.
#ifndef WHIPSNAKE_SERVER_CLI_WATCH_DISPLAY_H_
#define WHIPSNAKE_SERVER_CLI_WATCH_DISPLAY_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/cli/client.h"
#include "server/cli/job_follower.h"
#include "server/cli/output.h"
#include "server/cli/step_history.h"
#include "whipsnake/v1/fine_tuning.pb.h"

namespace whipsnake::server {

// What a live display knows.
struct WatchView {
  v1::FineTuningJob job;
  StepHistory history;
  LayerMap layers;                               // of the last step
  std::optional<std::chrono::milliseconds> cut;  // time without a connection
};

// The lines of a live display, none longer than `columns` characters, which are 40 or more:
//
//   reviews: Training [##########--------------] 42%  3 min 12 s left
//     step 126/300  epoch 1.26  2,140 tokens/s  312.4 MiB  checkpoint at 100
//     loss 2.3140  █▇▆▅▅▄▃▃▂▂▁▁  evaluation 2.2871
//     layers ··██····██··  4/12
std::vector<std::string> WatchLines(const WatchView& view, int columns);

// Whether a log has a line for this step: the first, the last, and some 20 in between.
bool IsLoggedStep(const v1::StepTaken& step);

// Makes the display for the output: JSON, one object for each event; on a terminal, lines that are
// drawn again and again; otherwise a log.
std::unique_ptr<JobListener> MakeWatchDisplay(const ClientFlags& client, const std::string& id,
                                              const Output& output);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_WATCH_DISPLAY_H_
