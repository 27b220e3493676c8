// The scratch memory of the operations of one context.
//
// It belongs to the owner of the context, and not to threads: it ends with its owner, its size does
// not depend on which thread takes which share, and no operation depends on what the same thread
// computed before. An operation finds it without a lookup, so this costs no more than
// thread-local memory.
#ifndef WHIPSNAKE_KERNELS_CPU_WORKSPACE_H_
#define WHIPSNAKE_KERNELS_CPU_WORKSPACE_H_

#include <memory>
#include <vector>

#include "kernels/context.h"
#include "kernels/cpu/scratch.h"

namespace whipsnake::kernels {

// One scratch for the thread that calls an operation, and a workspace for each share of it. An
// operation may use its scratch while its shares use theirs, but not while it calls another
// operation that uses the scratch of the same workspace. Not thread safe; the workspaces of
// different shares are independent.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  Scratch& scratch() { return scratch_; }

  // Makes sure that the shares [0, count) have workspaces. May not be called while shares use them.
  void PrepareShares(int count) {
    while (static_cast<int>(shares_.size()) < count) {
      shares_.push_back(std::make_unique<Workspace>());
    }
  }
  Workspace& share(int index) { return *shares_[index]; }

 private:
  Scratch scratch_;
  std::vector<std::unique_ptr<Workspace>> shares_;
};

// The scratch memory of one operation, or of one share of it: that of the context's workspace or,
// if the context has none, memory of its own that is freed with this object.
class OperationScratch {
 public:
  explicit OperationScratch(const Context& context)
      : scratch_(context.workspace != nullptr ? context.workspace->scratch() : own_) {}
  OperationScratch(const OperationScratch&) = delete;
  OperationScratch& operator=(const OperationScratch&) = delete;

  // As Scratch::Get: the memory is valid until the next call that grows it.
  template <typename T>
  T* Get(int64_t count) {
    return scratch_.Get<T>(count);
  }

 private:
  Scratch own_;
  Scratch& scratch_;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_WORKSPACE_H_
