// Pages of a list: page_size, page_token and next_page_token.
#ifndef WHIPSNAKE_SERVER_RPC_PAGING_H_
#define WHIPSNAKE_SERVER_RPC_PAGING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace whipsnake::server {

// 0 is the default, 100. INVALID_ARGUMENT below 0 and above 1000.
absl::StatusOr<int> PageSize(int32_t asked);

// For a token that no page has given.
absl::Status BadPageToken(const std::string& token);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_PAGING_H_
