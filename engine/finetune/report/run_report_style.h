// The style sheet of the page of a run report.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_RUN_REPORT_STYLE_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_RUN_REPORT_STYLE_H_

#include <string_view>

namespace whipsnake::engine {

// Has no < and no &, so that XML needs no escapes for it. Dark colours are for screens only, since
// paper is white.
std::string_view RunReportStyle();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_RUN_REPORT_STYLE_H_
