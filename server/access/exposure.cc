#include "server/access/exposure.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

constexpr char kNotEncrypted[] =
    "nothing is encrypted: whoever is on the way can read and change prompts, outputs and tokens";

// Without tokens.
std::string Everyone(const AccessOptions& options) {
  return absl::StrCat("there are no tokens: ",
                      options.tls.client_ca.empty() ? "everyone who reaches the port"
                                                    : "everyone with a client certificate",
                      " may generate, load and unload models, read and delete data sets and jobs, "
                      "and stop the server");
}

}  // namespace

std::string DescribeExposure(const ListenAddress& address, const AccessOptions& options) {
  if (address.IsLoopback()) return "";
  std::string text;
  if (!options.tls.any()) text = kNotEncrypted;
  if (options.tokens.empty()) absl::StrAppend(&text, text.empty() ? "" : "; ", Everyone(options));
  return text;
}

absl::Status CheckExposure(std::string_view flag, const ListenAddress& address,
                           const AccessOptions& options, bool insecure) {
  if (address.IsLoopback() || options.tls.any() || insecure) return absl::OkStatus();
  return engine::InvalidField(
      flag, address.ToString(),
      absl::StrCat("a loopback address, or --tls-cert and --tls-key: other machines could reach "
                   "this one, and ",
                   DescribeExposure(address, options),
                   ". --insecure-listen allows it, behind a proxy or in a container's own "
                   "network"));
}

}  // namespace whipsnake::server
