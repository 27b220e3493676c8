// The part of a run's page that shows which layers trained in which steps.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_LAYER_MAP_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_LAYER_MAP_H_

#include <string>

#include "engine/finetune/report/run_report.h"

namespace whipsnake::engine {

// A section with a table that has a row for each layer: its name, a strip that is marked where the
// layer trained, and in how many steps it did. A strip has a column for each step or, of long runs,
// for a bin of steps, whose shade is the part of them in which the layer trained. "" if all layers
// trained in all steps because there was no scheduler.
std::string LayerSection(const RunReport& report);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_LAYER_MAP_H_
