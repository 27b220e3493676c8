#include "server/rpc/paging.h"

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

constexpr int kDefaultPageSize = 100;
constexpr int kMaxPageSize = 1000;

}  // namespace

absl::StatusOr<int> PageSize(int32_t asked) {
  if (asked < 0 || asked > kMaxPageSize) {
    return engine::InvalidField("page_size", std::to_string(asked),
                                "0 to " + std::to_string(kMaxPageSize));
  }
  return asked == 0 ? kDefaultPageSize : asked;
}

absl::Status BadPageToken(const std::string& token) {
  return engine::InvalidField("page_token", engine::Quoted(token),
                              "a next_page_token of this server's");
}

}  // namespace whipsnake::server
