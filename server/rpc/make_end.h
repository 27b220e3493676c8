// The status of a call's Finish, whatever happens while it is made.
#ifndef WHIPSNAKE_SERVER_RPC_MAKE_END_H_
#define WHIPSNAKE_SERVER_RPC_MAKE_END_H_

#include <grpcpp/support/status.h>

#include "server/guarded.h"

namespace whipsnake::server {

// Returns what `make` returns: the status for the call's Finish. `make` may also serialize the
// response. If it throws, the exception is logged, and the status is RESOURCE_EXHAUSTED without a
// text, which takes no memory. Every Finish that runs in a callback needs this: gRPC drops an
// exception, and a call that is not finished stays for ever.
template <typename Make>
grpc::Status MakeEnd(const Make& make) noexcept {
  grpc::Status status(grpc::RESOURCE_EXHAUSTED, "");
  RunGuarded("rpc", [&] { status = make(); });
  return status;
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_MAKE_END_H_
