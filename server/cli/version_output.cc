#include "server/cli/version_output.h"

#include <google/protobuf/util/time_util.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace whipsnake::server {

using google::protobuf::util::TimeUtil;

Json VersionJson(const v1::ModelVersion& version) {
  Json json = {
      {"name", version.name()},
      {"version", version.version()},
      {"scheme", version.scheme()},
      {"state_type", version.state_type()},
      {"source_job", version.source_job()},
      {"checkpoint_step", version.checkpoint_step()},
      {"serving", version.serving()},
      {"aliases", std::vector<std::string>(version.aliases().begin(), version.aliases().end())}};
  if (version.has_create_time()) json["create_time"] = TimeUtil::ToString(version.create_time());
  return json;
}

std::string VersionsTable(const std::vector<v1::ModelVersion>& versions) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "SERVES", "ALIASES", "JOB", "STEP", "CREATED"}};
  for (const v1::ModelVersion& version : versions) {
    const bool from_job = !version.source_job().empty();
    rows.push_back({version.name(), version.serving() ? "yes" : "no",
                    version.aliases().empty() ? "-" : absl::StrJoin(version.aliases(), ", "),
                    from_job ? version.source_job() : "-",
                    from_job ? absl::StrCat(version.checkpoint_step()) : "-",
                    version.has_create_time() ? TimeUtil::ToString(version.create_time()) : "-"});
  }
  return Table(rows);
}

}  // namespace whipsnake::server
