#include "engine/models/family.h"

#include <vector>

#include "engine/models/gpt2/gpt2_family.h"
#include "engine/models/mamba/mamba_family.h"

namespace whipsnake::engine {
namespace {

std::vector<const Family*>& Table() {
  static auto* const table = new std::vector<const Family*>{&kMambaFamily, &kGpt2Family};
  return *table;
}

}  // namespace

std::span<const Family* const> Families() { return Table(); }

void AddFamily(const Family* family) { Table().push_back(family); }

}  // namespace whipsnake::engine
