// Paging of lists: page_size, page_token and next_page_token.
#ifndef WHIPSNAKE_SERVER_RPC_PAGING_H_
#define WHIPSNAKE_SERVER_RPC_PAGING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace whipsnake::server {

// Returns the page size to use: 0 means the default, 100. INVALID_ARGUMENT below 0 and above 1000.
absl::StatusOr<int> PageSize(int32_t asked);

// The error for a token that is not a valid next_page_token.
absl::Status BadPageToken(const std::string& token);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_PAGING_H_
