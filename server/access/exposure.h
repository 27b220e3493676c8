// What it means that other machines can reach a port.
#ifndef WHIPSNAKE_SERVER_ACCESS_EXPOSURE_H_
#define WHIPSNAKE_SERVER_ACCESS_EXPOSURE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/access/access.h"
#include "server/listen_address.h"

namespace whipsnake::server {

// Refuses, with the flag, an address that other machines can reach without encryption, unless
// `insecure` allows it.
absl::Status CheckExposure(std::string_view flag, const ListenAddress& address,
                           const AccessOptions& options, bool insecure);

// Says what whoever reaches the port may see and do. "" if other machines cannot reach it, or if it
// is encrypted and asks for tokens.
std::string DescribeExposure(const ListenAddress& address, const AccessOptions& options);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_EXPOSURE_H_
