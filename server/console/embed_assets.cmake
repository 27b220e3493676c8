# Writes a C++ source with the files of the console's page. Run by the build:
#   cmake -DOUTPUT=console_assets.cc -DDIRECTORY=server/console "-DNAMES=index.html console.css" -P embed_assets.cmake
separate_arguments(NAMES)
set(arrays "")
set(entries "")
set(index 0)
foreach(name ${NAMES})
  file(READ ${DIRECTORY}/${name} bytes HEX)
  file(SHA256 ${DIRECTORY}/${name} digest)
  string(SUBSTRING ${digest} 0 16 digest)
  string(REPEAT "[0-9a-f]" 32 line)
  string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  if(name MATCHES "\\.html$")
    set(type "text/html; charset=utf-8")
  elseif(name MATCHES "\\.css$")
    set(type "text/css; charset=utf-8")
  elseif(name MATCHES "\\.js$")
    set(type "text/javascript; charset=utf-8")
  elseif(name MATCHES "\\.svg$")
    set(type "image/svg+xml")
  else()
    message(FATAL_ERROR "${name}: no content type is known for this file")
  endif()
  string(APPEND arrays "constexpr char kFile${index}[] = {\n${bytes}'\\0'};\n")
  string(APPEND entries "    {\"${name}\", \"${type}\", \"${digest}\", {kFile${index}, sizeof(kFile${index}) - 1}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Made by embed_assets.cmake.
#include \"server/console/console_assets.h\"

namespace whipsnake::server {
namespace {

${arrays}
constexpr ConsoleAsset kAssets[] = {
${entries}};

}  // namespace

std::span<const ConsoleAsset> ConsoleAssets() { return kAssets; }

}  // namespace whipsnake::server
")
