#include "engine/base/scheme.h"

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr Scheme kAll[] = {Scheme::kFp32,
                           Scheme::kBf16,
                           Scheme::kQuamba,
                           Scheme::kQuambaNoRotation,
                           Scheme::kQuambaNoPercentile,
                           Scheme::kStatic,
                           Scheme::kSmoothQuant,
                           Scheme::kQuaRot,
                           Scheme::kW8A8};
constexpr int kUnquantized = 2;

}  // namespace

std::string_view Name(Scheme scheme) {
  switch (scheme) {
    case Scheme::kFp32:
      return "fp32";
    case Scheme::kBf16:
      return "bf16";
    case Scheme::kQuamba:
      return "quamba-w8a8";
    case Scheme::kQuambaNoRotation:
      return "quamba-w8a8-norot";
    case Scheme::kQuambaNoPercentile:
      return "quamba-w8a8-nopct";
    case Scheme::kStatic:
      return "static-w8a8";
    case Scheme::kSmoothQuant:
      return "smoothquant-w8a8";
    case Scheme::kQuaRot:
      return "quarot-w8a8";
    case Scheme::kW8A8:
      return "w8a8";
  }
  return "unknown";
}

std::span<const Scheme> AllSchemes() { return kAll; }
std::span<const Scheme> QuantizedSchemes() { return std::span(kAll).subspan(kUnquantized); }

std::string SchemeNames(std::span<const Scheme> schemes) {
  std::string names;
  for (const Scheme scheme : schemes) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(Name(scheme)));
  }
  return names;
}

absl::StatusOr<Scheme> ParseScheme(std::string_view name) {
  for (const Scheme scheme : kAll) {
    if (name == Name(scheme)) return scheme;
  }
  return InvalidField("scheme", Quoted(name), SchemeNames(kAll));
}

}  // namespace whipsnake::engine
