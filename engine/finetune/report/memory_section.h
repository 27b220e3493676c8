// The part of a run's page that shows what its memory held.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_MEMORY_SECTION_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_MEMORY_SECTION_H_

#include <string>

#include "engine/finetune/report/run_report.h"

namespace whipsnake::engine {

// A section with the bytes at their highest, and a chart of them by step and by class.
std::string MemorySection(const RunReport& report);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_MEMORY_SECTION_H_
