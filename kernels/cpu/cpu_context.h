// The owner of what operations on the CPU use.
#ifndef WHIPSNAKE_KERNELS_CPU_CPU_CONTEXT_H_
#define WHIPSNAKE_KERNELS_CPU_CPU_CONTEXT_H_

#include "kernels/context.h"
#include "kernels/cpu/team.h"
#include "kernels/cpu/workspace.h"

namespace whipsnake::kernels {

// Owns a team and a workspace. Not movable: the context points to them.
class CpuContext {
 public:
  // `threads` counts the caller of the operations, as in Team.
  explicit CpuContext(int threads) : team_(threads) {}
  CpuContext(const CpuContext&) = delete;
  CpuContext& operator=(const CpuContext&) = delete;

  // Valid while this object lives. One operation at a time may use it.
  const Context& context() const { return context_; }
  int threads() const { return team_.threads(); }

 private:
  Team team_;
  Workspace workspace_;
  const Context context_{.team = &team_, .workspace = &workspace_};
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_CPU_CONTEXT_H_
