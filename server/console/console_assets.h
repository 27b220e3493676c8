// The files of the console's page, which the build embeds (embed_assets.cmake).
#ifndef WHIPSNAKE_SERVER_CONSOLE_CONSOLE_ASSETS_H_
#define WHIPSNAKE_SERVER_CONSOLE_CONSOLE_ASSETS_H_

#include <span>
#include <string_view>

namespace whipsnake::server {

struct ConsoleAsset {
  std::string_view name;          // "console.css"
  std::string_view content_type;  // "text/css; charset=utf-8"
  std::string_view digest;        // of the contents, in hexadecimal digits
  std::string_view contents;
};

// All files, with static storage.
std::span<const ConsoleAsset> ConsoleAssets();

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONSOLE_CONSOLE_ASSETS_H_
