#include "server/store/store.h"

namespace whipsnake::server {

std::string_view Name(Collection collection) {
  switch (collection) {
    case Collection::kDatasets:
      return "datasets";
    case Collection::kJobs:
      return "jobs";
    case Collection::kCheckpoints:
      return "checkpoints";
    case Collection::kModelVersions:
      return "model_versions";
    case Collection::kModelAliases:
      return "model_aliases";
  }
  return "";
}

}  // namespace whipsnake::server
