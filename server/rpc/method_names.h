// The names of methods that exist: a client may send any name.
#ifndef WHIPSNAKE_SERVER_RPC_METHOD_NAMES_H_
#define WHIPSNAKE_SERVER_RPC_METHOD_NAMES_H_

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace whipsnake::server {

class MethodNames {
 public:
  static constexpr std::string_view kUnknown = "unknown";

  // `services` are full names.
  explicit MethodNames(const std::vector<std::string>& services);

  // Returns "whipsnake.v1.GenerationService/Generate" for the path of that method, which begins
  // with a slash; kUnknown for a method that does not exist. Valid as long as this object.
  std::string_view Of(std::string_view path) const;

 private:
  std::set<std::string, std::less<>> names_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_METHOD_NAMES_H_
