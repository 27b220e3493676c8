// What a metric means, for the people who read it: the text of /metrics and docs/metrics.md.
#ifndef WHIPSNAKE_SERVER_METRICS_DESCRIPTION_H_
#define WHIPSNAKE_SERVER_METRICS_DESCRIPTION_H_

#include <string>
#include <vector>

namespace whipsnake::server {

struct LabelDescription {
  std::string name;
  std::string meaning = {};              // of the values, if they are not listed
  std::vector<std::string> values = {};  // all that there are, or none: see `meaning`
};

struct MetricDescription {
  std::string name;
  // What is counted and when; of a duration, what starts and what ends the clock. The HELP text.
  std::string help;
  std::string unit = {};  // "seconds", "bytes", "requests", ...
  std::vector<LabelDescription> labels = {};
  std::string example = {};  // a query in PromQL, or ""
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_DESCRIPTION_H_
